-- Posts the lines of a file in turn, each with new values for its marks. Arguments: path, file, and a number that no
-- other run has, from which the values are made.
dofile("report.lua")
dofile("marks.lua")

local requests, turn = {}, 0

function init(arguments)
  wrk.headers["Content-Type"] = "application/json"
  math.randomseed(tonumber(arguments[3]))
  for line in io.lines(arguments[2]) do
    requests[#requests + 1] = cut(wrk.format("POST", arguments[1], nil, line))
  end
end

function request()
  turn = turn % #requests + 1
  return fill(requests[turn])
end
