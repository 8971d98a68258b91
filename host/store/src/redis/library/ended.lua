-- Ids of repeatable requests that have ended: remembered for MEMORY, or for as
-- long as there is room, so that a request that comes again, or comes late, is
-- refused and not granted a second time.
--
--   e     id -> when (8 bytes), how
--   eo    the same in the order in which they ended: when, id, canceller
--   eu:P  when a principal cancelled what had not been seen, the oldest first

local MEMORY = 600 * 1000000
local WAS_GRANTED, NEVER_GRANTED = 1, 2
local ENDED_AT = '<d'

local function is_known(at)
  return at + MEMORY >= S.now
end

-- How an id ended, unless that was too long ago.
function Ended.get(id)
  local how = S.ended[id]
  if how then
    return how
  end
  local text = call('HGET', key('e'), id)
  if text then
    local at
    at, how = struct.unpack(ENDED_AT .. 'B', text)
    return is_known(at) and how or nil
  end
end

-- Strikes an id that ended at that time.
local function forget(at, id, canceller)
  -- It may have ended again since it was forgotten.
  local ended = call('HGET', key('e'), id)
  if ended and struct.unpack(ENDED_AT, ended) == at then
    call('HDEL', key('e'), id)
  end
  local oldest = canceller ~= '' and tonumber(call('LINDEX', key('eu:') .. canceller, 0) or nil)
  if oldest and oldest <= at then
    call('LPOP', key('eu:') .. canceller)
  end
end

-- Forgets two at most for each that is added: bounded work, and it keeps up.
local function sweep(kept, added)
  for _ = 1, 2 * added do
    local text = call('LINDEX', key('eo'), 0)
    if not text then
      return
    end
    local at = struct.unpack(ENDED_AT, text)
    if kept <= S.limits.ended and is_known(at) then
      return
    end
    call('LPOP', key('eo'))
    kept = kept - 1
    forget(at, string.sub(text, 9, 24), string.sub(text, 25))
  end
end

-- Writes down what has ended.
function Ended.flush()
  local added = #S.ended_in_order
  if added == 0 then
    return
  end
  local ended = {}
  for id, how in pairs(S.ended) do
    ended[#ended + 1] = id
    ended[#ended + 1] = struct.pack(ENDED_AT .. 'B', S.now, how)
  end
  do_all('HSET', key('e'), ended)
  local kept = do_all('RPUSH', key('eo'), S.ended_in_order)
  S.ended, S.ended_in_order = {}, {}
  sweep(kept, added)
end

local function remember(id, how, canceller)
  S.ended[id] = how
  S.ended_in_order[#S.ended_in_order + 1] = struct.pack(ENDED_AT, S.now) .. id .. canceller
end

function Ended.remember(id, how)
  remember(id, how, '')
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
  -- The next is told whether there is room by what is left.
  Ended.flush()
  return true
end
