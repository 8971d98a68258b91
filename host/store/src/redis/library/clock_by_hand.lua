-- The time as a test hands it in, behind the arguments of each call.

local function wall_clock(args)
  return tonumber(args[#args])
end

local function slew(wall)
  return wall
end

