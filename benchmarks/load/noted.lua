-- Posts completions under ids that the client makes, and notes each id that was acknowledged in a file before anything
-- else happens. Arguments: path, a file of bodies, the file of ids, a word that the ids begin with.
dofile("report.lua")
dofile("marks.lua")

local path, bodies, prefix, number = nil, {}, nil, 0

function init(arguments)
  wrk.headers["Content-Type"] = "application/json"
  path, prefix = arguments[1], arguments[4]
  math.randomseed(tonumber(prefix:match("%d+")) % 2147483647)
  for line in io.lines(arguments[2]) do
    bodies[#bodies + 1] = cut(line)
  end
  noted = assert(io.open(arguments[3], "w"))
end

function request()
  number = number + 1
  return wrk.format("POST", path .. prefix .. number, nil, fill(bodies[number % #bodies + 1]))
end

function response(status, headers, body)
  if status >= 200 and status < 300 then
    noted:write(body:match('"id":%s*"([^"]+)"'), "\n")
    noted:flush()
  end
end
