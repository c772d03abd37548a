-- Posts log rows of completions whose ids the client makes: in turn a row `started` of a new id, and the row `finished`
-- of the id that was started 64 requests ago. Arguments: path, a file of rows `started`, one of rows `finished`, and a
-- number that no other run has, from which the ids are made.
dofile("report.lua")

local behind = 32 -- of one kind
local path, started, finished = nil, {}, {}
local ids, number, closes = {}, 0, false
local is_trial = true

-- A version 4 UUID, as the real client makes them: in no order.
local function new_id()
  return string.format("%04x%04x-%04x-4%03x-%x%03x-%04x%04x%04x",
    math.random(0, 65535), math.random(0, 65535), math.random(0, 65535), math.random(0, 4095),
    math.random(8, 11), math.random(0, 4095), math.random(0, 65535), math.random(0, 65535), math.random(0, 65535))
end

local function lines(file)
  local found = {}
  for line in io.lines(file) do
    found[#found + 1] = line
  end
  return found
end

function init(arguments)
  wrk.headers["Content-Type"] = "application/json"
  path, started, finished = arguments[1], lines(arguments[2]), lines(arguments[3])
  math.randomseed(tonumber(arguments[4]))
end

function request()
  if is_trial then -- wrk asks for one beforehand, to see what it is like, and sends it nowhere
    is_trial = false
    return wrk.format("POST", path .. "trial", nil, started[1])
  end
  closes = not closes and number > behind
  if closes then
    local earlier = number - behind
    local id = ids[earlier]
    ids[earlier] = nil
    return wrk.format("POST", path .. id, nil, finished[earlier % #finished + 1])
  end
  number = number + 1
  ids[number] = new_id()
  return wrk.format("POST", path .. ids[number], nil, started[number % #started + 1])
end
