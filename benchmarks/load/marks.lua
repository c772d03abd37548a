-- Replaces the marks of `benchmarks/bodies.py` with random digits, so that each request has a new tag and a new session.
local marks = { ["@own-tag-@@@"] = "tag", ["@session-id-@@@@"] = "session" }

function new_digits()
  local six = function() return string.format("%06x", math.random(0, 16777215)) end
  return { tag = six() .. six(), session = six() .. six() .. string.format("%04x", math.random(0, 65535)) }
end

-- The pieces of a text between its marks: a list of text, name of a mark, text, …
function cut(text)
  local pieces, from = {}, 1
  while true do
    local first, last = text:find("@[os][a-z-]+@+", from)
    local name = first and marks[text:sub(first, last)]
    if not first then break end
    if name then
      pieces[#pieces + 1] = text:sub(from, first - 1)
      pieces[#pieces + 1] = name
      from = last + 1
    else
      error("an unknown mark: " .. text:sub(first, last))
    end
  end
  pieces[#pieces + 1] = text:sub(from)
  return pieces
end

-- The text with these digits, or with new ones for each tag if there are none.
function fill(pieces, digits)
  local filled = {}
  for place = 1, #pieces do
    local piece = pieces[place]
    if place % 2 == 0 then
      piece = (digits or new_digits())[piece]
    end
    filled[place] = piece
  end
  return table.concat(filled)
end
