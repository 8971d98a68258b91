-- Ids of repeatable requests that have ended: remembered for MEMORY, or for as
-- long as there is room, so that a request that comes again, or comes late, is
-- refused and not granted a second time.
--
--   e     id -> { when, how }
--   eo    the same in the order in which they ended: { when, id, canceller }
--   eu:P  when a principal cancelled what had not been seen, the oldest first

local MEMORY = 600 * 1000000
local WAS_GRANTED, NEVER_GRANTED = 1, 2

local function is_known(at)
  return at + MEMORY >= S.now
end

-- How an id ended, unless that was too long ago.
function Ended.get(id)
  local text = call('HGET', key('e'), id)
  if text then
    local ended = cmsgpack.unpack(text)
    if is_known(ended[1]) then
      return ended[2]
    end
  end
end

-- Forgets two at most for each that is added: bounded work, and it keeps up.
local function sweep()
  for _ = 1, 2 do
    local text = call('LINDEX', key('eo'), 0)
    if not text then
      return
    end
    local at, id, canceller = unpack(cmsgpack.unpack(text))
    if call('LLEN', key('eo')) <= S.limits.ended and is_known(at) then
      return
    end
    call('LPOP', key('eo'))
    -- It may have ended again since it was forgotten.
    local ended = call('HGET', key('e'), id)
    if ended and cmsgpack.unpack(ended)[1] == at then
      call('HDEL', key('e'), id)
    end
    local oldest = canceller and tonumber(call('LINDEX', key('eu:') .. canceller, 0) or nil)
    if oldest and oldest <= at then
      call('LPOP', key('eu:') .. canceller)
    end
  end
end

local function remember(id, how, canceller)
  call('HSET', key('e'), id, cmsgpack.pack({ S.now, how }))
  call('RPUSH', key('eo'), cmsgpack.pack({ S.now, id, canceller }))
  sweep()
end

function Ended.remember(id, how)
  remember(id, how, false)
end

-- Remembers an id that somebody cancelled before it was seen. False, and nothing
-- changes, if enough of theirs are remembered already.
function Ended.remember_unseen(id, canceller)
  local times = key('eu:') .. canceller
  if call('LLEN', times) >= S.limits.cancels_per_principal then
    local oldest = tonumber(call('LINDEX', times, 0) or nil)
    if not oldest or is_known(oldest) then
      return false
    end
    call('LPOP', times)
  end
  call('RPUSH', times, string.format('%.0f', S.now))
  remember(id, NEVER_GRANTED, canceller)
  return true
end
