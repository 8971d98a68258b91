-- Waits that would never end: the search of `core/deadlock.rs`, where it is
-- drawn and argued.
--
--   x    the search that goes on, with all it has found out
--   xl   the waiters whose searches will begin anew, by arrival
--
-- A search has:
--
--   from     the waiter it began with: { id, arrival }
--   owner    its owner
--   reached  owner -> the edge by which it was reached first
--   marks    lock -> how far it was looked at: { holders, alike, apart, ahead }
--   work     what is still to be looked at: { 'members', group, next } or
--            { 'waiter', node, place }
--
-- An edge: { from, waiter, lock, blocker, to }, owners at its ends.

-- How long a search that is not finished leaves the store to others.
local SEARCH_PAUSE = 1000

-- How many of a transaction's requests, or of those ahead of one, are looked at
-- to see whether it waits for itself.
local OWN_MAX = 1000

local function node_of(request)
  return { request.id, request.arrival }
end

-- A request, unless it has ended.
local function known(node)
  local request = Requests.get(node[1])
  return request and request.arrival == node[2] and request or nil
end

-- Which of a lock's holders a request in its queue waits for: 'nobody', 'all', or
-- 'one-owner': all if they have the same owner, else none in particular.
local function waits_for_holders(request, lock)
  if Locks.waiting(lock) == 0 or lock.holders == 0 then
    return 'nobody'
  elseif lock.mode == SHARED and request.mode == SHARED
    and not Queues.other_before(lock, request.arrival)
  then
    return 'nobody'
  elseif lock.mode > 0 and request.mode > 0
    and not Queues.has_no_permits_before(lock, request.arrival)
  then
    return Locks.admits(lock, request.mode) and 'nobody' or 'one-owner'
  end
  return 'all'
end

-- Everybody who arrived in the queue before this, a request waits for.
local function bound(request, lock)
  if request.mode ~= SHARED then
    return request.arrival
  end
  local other = Queues.other_before(lock, request.arrival)
  return other and other + 1 or 0
end

-- The first holder, once it is seen that all have its owner. 'passed' if it
-- looked at one; nil if there is none to wait for.
local function next_alike(lock, mark)
  if mark.apart then
    if Locks.is_held_by(lock, mark.apart[1]) and Locks.is_held_by(lock, mark.apart[2]) then
      return nil
    end
    mark.apart, mark.alike = false, 0
  end
  local oldest = Locks.holders_behind(lock, 0, 1)
  if not oldest[1] then
    return nil
  end
  local first = Requests.get(oldest[1])
  local next = Locks.holders_behind(lock, mark.alike, 1)
  if next[1] then
    mark.alike = tonumber(next[2])
    if Groups.owner_of(Requests.get(next[1])) ~= Groups.owner_of(first) then
      mark.apart = { first.token, mark.alike }
    end
    return 'passed'
  end
  if mark.holders >= mark.alike then
    return nil
  end
  mark.holders = mark.alike
  return first
end

local function next_holder(lock, mark)
  local next = Locks.holders_behind(lock, mark.holders, 1)
  if next[1] then
    mark.holders = tonumber(next[2])
    return Requests.get(next[1])
  end
end

-- Goes on from a mark to the next who may be in the way of a request.
local function look_on(request, lock, mark)
  local waits = waits_for_holders(request, lock)
  local holder = nil
  if waits == 'all' then
    holder = next_holder(lock, mark)
  elseif waits == 'one-owner' then
    holder = next_alike(lock, mark)
  end
  if holder then
    return holder
  end
  local arrival, id = Queues.entangled_between(lock, mark.ahead, bound(request, lock))
  if arrival then
    mark.ahead = arrival
    return Requests.get(id)
  end
end

local function link(request, name)
  return { request.label, name }
end

-- The nearest ahead of a request in a queue that excludes it and is not of its
-- transaction.
local function stranger_ahead(request, lock)
  local before = request.mode == SHARED and Queues.other_before or Queues.before
  local arrival, id = before(lock, request.arrival)
  for _ = 1, OWN_MAX do
    if not arrival then
      return nil
    end
    local other = Requests.get(id)
    if other.life ~= request.life then
      return other
    end
    arrival, id = before(lock, arrival)
  end
end

local function names(request, name)
  for _, other in ipairs(request.locks) do
    if other == name then
      return true
    end
  end
  return false
end

-- Whether a transaction's request waits for another wait of the same
-- transaction. It would get a view of what that gets, if not for somebody else
-- between the two, or because it asks for more.
local function waits_for_itself(request)
  local members = Groups.members(Groups.of_life(request.life), nil, OWN_MAX)
  for _, name in ipairs(request.locks) do
    local first, covers = nil, true
    for _, id in ipairs(members) do
      local other = Requests.get(id)
      if not Requests.is_held(other) and other.arrival < request.arrival and names(other, name) then
        first = first or other.arrival
        covers = covers and Locks.covers(other.mode, request.mode)
      end
    end
    if first and not covers then
      return { link(request, name) }
    end
    local between = first and stranger_ahead(request, Locks.get(name))
    if between and between.arrival > first then
      return { link(request, name), link(between, name) }
    end
  end
end

local function begin_search(request)
  return { from = node_of(request), owner = Groups.owner_of(request), reached = {}, marks = {},
    work = { { 'waiter', node_of(request), 1 } } }
end

-- Whether this is the waiter it began with, and a transaction's: that does not
-- wait for itself (see `waits_for_itself`). It does wait for another transaction
-- of its owner.
local function is_own_view(search, node)
  return node[1] == search.from[1] and node[2] == search.from[2]
    and Requests.is_of_transaction(Requests.get(node[1]))
end

-- The member of a group behind another, or its first.
local function member_behind(group, arrival)
  local id = Groups.members(group, arrival, 1)[1]
  return id and node_of(Requests.get(id))
end

-- Goes from a waiter to the owner of a request in its way. Answers the edge if
-- that leads back to where it began.
local function reach(search, waiter, name, blocker)
  local from = Groups.owner_of(Requests.get(waiter[1]))
  local edge = { from, waiter, name, node_of(blocker), Groups.owner_of(blocker) }
  local to = edge[5]
  if to == search.owner then
    local is_own = is_own_view(search, waiter) and blocker.life == Requests.get(waiter[1]).life
    return not is_own and edge or nil
  elseif to == from or search.reached[to] then
    return nil
  end
  search.reached[to] = edge
  local group = Groups.of_waits(blocker)
  if group then
    table.insert(search.work, { 'members', group, member_behind(group) })
  else
    table.insert(search.work, { 'waiter', edge[4], 1 })
  end
end

-- Looks at one more of those a request waits for.
local function look(search, node, place)
  local request = known(node)
  if not request or Requests.is_held(request) then
    return nil
  end
  local name = request.locks[place]
  if not name then
    if is_own_view(search, node) then
      -- It has passed its own by, which others have to see.
      search.marks = {}
    end
    return nil
  end
  local mark = search.marks[name] or { holders = 0, alike = 0, apart = false, ahead = 0 }
  search.marks[name] = mark
  local seen = look_on(request, Locks.get(name), mark)
  table.insert(search.work, 1, { 'waiter', node, seen and place or place + 1 })
  if seen and seen ~= 'passed' then
    return reach(search, node, name, seen)
  end
end

-- Visits one request of an owner. If it went before the search came to this
-- owner, it goes on from the owner's first.
local function visit(search, group, next)
  next = known(next) and next or member_behind(group)
  local request = next and known(next)
  if not request then
    return
  end
  local of_waits = Groups.of_waits(request)
  if not Requests.is_held(request) and of_waits and of_waits.owner == group.owner then
    table.insert(search.work, { 'waiter', next, 1 })
  end
  local behind = member_behind(group, request.arrival)
  if behind then
    table.insert(search.work, 1, { 'members', group, behind })
  end
end

-- The way that ends with an edge, from its beginning.
local function path_to(search, last)
  local path = {}
  while last do
    table.insert(path, 1, last)
    last = search.reached[last[1]]
  end
  return path
end

-- Goes on with a search. Answers the way it found, and whether it is finished.
local function run(search)
  for _ = 1, S.limits.steps do
    local work = table.remove(search.work, 1)
    if not work then
      return nil, true
    elseif work[1] == 'waiter' then
      local last = look(search, work[2], work[3])
      if last then
        return path_to(search, last), true
      end
    else
      visit(search, work[2], work[3])
    end
  end
  return nil, false
end

local function cycle_of(path)
  local cycle = {}
  for at, edge in ipairs(path) do
    cycle[at] = link(Requests.get(edge[2][1]), edge[3])
  end
  return cycle
end

local function current()
  local text = S.search_due > 0 and call('GET', key('x'))
  return text and cmsgpack.unpack(text) or nil
end

local function keep(search)
  if search then
    call('SET', key('x'), cmsgpack.pack(search))
  else
    call('DEL', key('x'))
  end
end

-- Looks whether a request that begins to wait would wait forever: the cycle, if
-- it would.
function Deadlock.search_from(request)
  local group = Groups.of_waits(request)
  if not group or Groups.count(group) < 2 then
    return nil
  end
  local own = Requests.is_of_transaction(request) and waits_for_itself(request)
  if own then
    return own
  end
  local search = begin_search(request)
  local path, is_finished = run(search)
  if path then
    return cycle_of(path)
  elseif not is_finished then
    if S.search_due == 0 then
      S.search_due = S.now + SEARCH_PAUSE
    end
    if current() then
      call('ZADD', key('xl'), request.arrival, request.id)
    else
      keep(search)
    end
  end
end

-- Whether an edge that was found some time ago is still there.
local function holds_true(edge)
  local request, blocker, name = known(edge[2]), known(edge[4]), edge[3]
  if not request or not blocker or Requests.is_held(request)
    or not names(request, name) or not names(blocker, name)
  then
    return false
  end
  local lock = Locks.get(name)
  if not Requests.is_held(blocker) then
    return blocker.arrival < bound(request, lock)
  end
  local waits = waits_for_holders(request, lock)
  if waits ~= 'one-owner' then
    return waits == 'all'
  end
  local holders = Locks.holders_behind(lock, 0, lock.holders)
  for at = 1, #holders, 2 do
    if Groups.owner_of(Requests.get(holders[at])) ~= edge[5] then
      return false
    end
  end
  return true
end

local function all_hold_true(path)
  for _, edge in ipairs(path) do
    if not holds_true(edge) then
      return false
    end
  end
  return true
end

local function next_search()
  local search = current()
  if search then
    return search
  end
  local first = call('ZPOPMIN', key('xl'))
  return first[1] and begin_search(Requests.get(first[1]))
end

-- Whether no search is unfinished any more is noted.
local function settle()
  if call('EXISTS', key('x'), key('xl')) == 0 then
    S.search_due = 0
  end
end

-- Goes on with a search that is not finished, if one is due.
function Deadlock.search_on()
  if S.search_due == 0 or S.search_due > S.now then
    return
  end
  S.search_due = S.now + SEARCH_PAUSE
  local search = next_search()
  if not search then
    return settle()
  end
  local path, is_finished = run(search)
  if not path then
    keep(not is_finished and search)
    return settle()
  end
  local from = known(search.from)
  if not all_hold_true(path) then
    keep(begin_search(from))
    return
  end
  local youngest = path[1][2]
  for _, edge in ipairs(path) do
    if edge[2][2] > youngest[2] then
      youngest = edge[2]
    end
  end
  local cycle = cycle_of(path)
  keep(youngest[2] ~= search.from[2] and begin_search(from))
  Ends.one(known(youngest), 'deadlock', cycle)
  settle()
end

-- Gives up the search for a request that does not wait any more.
function Deadlock.forget(request)
  if S.search_due == 0 then
    return
  end
  call('ZREM', key('xl'), request.id)
  local search = current()
  if search and search.from[2] == request.arrival then
    keep(nil)
  end
  settle()
end

-- A request is about to go: the search goes on behind it.
function Deadlock.step_over(request)
  local search = current()
  local work = search and search.work[1]
  if not work or work[1] ~= 'members' or work[3][2] ~= request.arrival then
    return
  end
  local behind = member_behind(work[2], request.arrival)
  if behind then
    work[3] = behind
  else
    table.remove(search.work, 1)
  end
  keep(search)
end
