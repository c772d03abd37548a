-- Posts one span again and again, each time with new ids. Arguments: path, a file with the export of a span, how many
-- bytes lie before the id of its trace, and a number from which the ids are made.
dofile("report.lua")

local path, before, between, after = nil, nil, nil, nil

local function random_bytes(count)
  local bytes = {}
  for place = 1, count do
    bytes[place] = string.char(math.random(0, 255))
  end
  return table.concat(bytes)
end

function init(arguments)
  wrk.headers["Content-Type"] = "application/x-protobuf"
  path = arguments[1]
  local file = assert(io.open(arguments[2], "rb"))
  local export, at = file:read("*a"), tonumber(arguments[3])
  file:close()
  before, between, after = export:sub(1, at), export:sub(at + 17, at + 18), export:sub(at + 27)
  math.randomseed(tonumber(arguments[4]))
end

function request()
  return wrk.format("POST", path, nil, before .. random_bytes(16) .. between .. random_bytes(8) .. after)
end
