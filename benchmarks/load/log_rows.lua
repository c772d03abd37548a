-- Posts log rows of completions whose ids the client makes: in turn a row `started` of a new id, and the row `finished`
-- of the id that was started 64 requests ago. Arguments: path, a file of rows `started`, one of rows `finished`, and a
-- number that no other run has, from which the ids are made.
dofile("report.lua")
dofile("marks.lua")

local behind = 32 -- of one kind
local mark_of_id = "00000000-0000-4000-8000-000000000000" -- in the path, until the id is known
local path, started, finished = nil, {}, {}
local ids, digits, number, closes = {}, {}, 0, false
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
    found[#found + 1] = cut(wrk.format("POST", path .. mark_of_id, nil, line))
  end
  return found
end

function init(arguments)
  wrk.headers["Content-Type"] = "application/json"
  path = arguments[1]
  started, finished = lines(arguments[2]), lines(arguments[3])
  math.randomseed(tonumber(arguments[4]))
end

-- The row with its id, and with the tag and the session that its completion has in both rows.
local function row(pieces, number)
  local first = pieces[1]
  pieces[1] = first:gsub((mark_of_id:gsub("%-", "%%-")), ids[number], 1)
  local text = fill(pieces, digits[number])
  pieces[1] = first
  return text
end

function request()
  if is_trial then -- wrk asks for one beforehand, to see what it is like, and sends it nowhere
    is_trial = false
    return wrk.format("POST", path .. "trial", nil, "{}")
  end
  closes = not closes and number > behind
  if closes then
    local earlier = number - behind
    local text = row(finished[earlier % #finished + 1], earlier)
    ids[earlier], digits[earlier] = nil, nil
    return text
  end
  number = number + 1
  ids[number], digits[number] = new_id(), new_digits()
  return row(started[number % #started + 1], number)
end
