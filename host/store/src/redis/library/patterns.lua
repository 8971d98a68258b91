-- Patterns of lock names: `*` is one segment, `**`, at the end, the rest, of at
-- least one.

local function matches(pattern, name)
  local at = 1
  for segment in (pattern .. '/'):gmatch('([^/]*)/') do
    if at > #name + 1 then
      return false
    end
    if segment == '**' then
      return true
    end
    local slash = name:find('/', at, true) or #name + 1
    if segment ~= '*' and segment ~= name:sub(at, slash - 1) then
      return false
    end
    at = slash + 1
  end
  return at > #name + 1
end

-- Whether a lock is one of our own, which nobody outside may see.
local function is_internal(name)
  return string.byte(name) == 1
end

-- Whether one of them, or no pattern at all, is of each of these names.
local function covers(patterns, names)
  for _, name in ipairs(names) do
    local is_covered = not patterns
    for _, pattern in ipairs(patterns or {}) do
      is_covered = is_covered or matches(pattern, name)
    end
    is_covered = is_covered and not is_internal(name)
    if not is_covered then
      return false
    end
  end
  return true
end
