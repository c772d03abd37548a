-- Posts whole files in turn as JSON Lines. Arguments: path, files.
dofile("report.lua")

local requests, turn = {}, 0

function init(arguments)
  wrk.headers["Content-Type"] = "application/x-ndjson"
  for number = 2, #arguments do
    local file = assert(io.open(arguments[number], "rb"))
    requests[#requests + 1] = wrk.format("POST", arguments[1], nil, file:read("*a"))
    file:close()
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end
