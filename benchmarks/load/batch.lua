-- Posts whole files in turn as JSON Lines, each with new values for its marks. Arguments: path, a number that no other
-- run has, files.
dofile("report.lua")
dofile("marks.lua")

local requests, turn = {}, 0

function init(arguments)
  wrk.headers["Content-Type"] = "application/x-ndjson"
  math.randomseed(tonumber(arguments[2]))
  for number = 3, #arguments do
    local file = assert(io.open(arguments[number], "rb"))
    requests[#requests + 1] = cut(wrk.format("POST", arguments[1], nil, file:read("*a")))
    file:close()
  end
end

function request()
  turn = turn % #requests + 1
  return fill(requests[turn])
end
