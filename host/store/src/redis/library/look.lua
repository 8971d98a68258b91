-- Looking at locks, for people and listings.

local SHOWN_MAX = 100

local function show_holder(request)
  return { request.id, request.token, request.principal, request.owner, request.label,
    request.life, request.since, Requests.remaining(request) }
end

local function show_waiter(request)
  return { request.principal, request.owner, request.label, request.mode, request.asked,
    request.due }
end

-- Who waits, the first first: so many of each line, and then of all.
local function waiters(lock)
  local all = {}
  for _, line in ipairs({ 'r', 'w', 'p' }) do
    if lock[line] > 0 then
      local ids = call('ZRANGE', key('q' .. line .. ':') .. lock.name, 0, SHOWN_MAX - 1)
      for _, id in ipairs(ids) do
        all[#all + 1] = Requests.get(id)
      end
    end
  end
  table.sort(all, function(one, other)
    return one.arrival < other.arrival
  end)
  local shown = {}
  for at = 1, math.min(#all, SHOWN_MAX) do
    shown[at] = show_waiter(all[at])
  end
  return shown
end

-- Who holds a lock and who waits for it: mode, holders, how many hold it,
-- waiters, how many wait; the mode is false if it is idle.
function Look.at(name)
  local lock = Locks.get(name)
  if Locks.is_idle(lock) then
    return { false, {}, 0, {}, 0 }
  end
  local shown = {}
  local holders = Locks.holders_behind(lock, 0, SHOWN_MAX)
  for at = 1, #holders, 2 do
    shown[#shown + 1] = show_holder(Requests.get(holders[at]))
  end
  local queued = waiters(lock)
  local mode = lock.mode
  if lock.holders == 0 then
    mode = queued[1][4]
  end
  return { mode, shown, lock.holders, queued, Locks.waiting(lock) }
end

function Look.at_all(names)
  local locks = {}
  for at, name in ipairs(names) do
    locks[at] = Look.at(name)
  end
  return { 'locks', locks }
end
