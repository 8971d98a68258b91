-- The clock of the store. Tests put another file in the place of this one.

-- What time the server says it is, in microseconds since 2025.
local function wall_clock()
  local time = redis.call('TIME')
  return (time[1] - 1735689600) * 1000000 + time[2]
end

-- The time of the store: it follows the server's clock, but does not go back
-- with it, and goes on by a second at most when the clock leaps.
local function slew(wall, wall_before, now_before)
  local passed = wall - wall_before
  if passed < 0 then
    passed = 0
  elseif passed > 1000000 then
    passed = 1000000
  end
  return now_before + passed
end

