-- How the store goes by the wall clock.

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

