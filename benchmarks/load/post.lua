-- Posts the lines of a file in turn. Arguments: path, file.
dofile("report.lua")

local requests, turn = {}, 0

function init(arguments)
  wrk.headers["Content-Type"] = "application/json"
  for line in io.lines(arguments[2]) do
    requests[#requests + 1] = wrk.format("POST", arguments[1], nil, line)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end
