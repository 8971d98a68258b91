-- How grants and waits end, and who is served then.
--
-- A request ends 'given-back', 'abandoned' (whoever asked has gone and heard
-- nothing), 'closed' (with its transaction or session), 'ran-out',
-- 'session-ran-out', 'forced', or in a 'deadlock'.

-- Waiters that may be able to go now, to be taken in the order they arrived: a
-- heap.
local Woken = {}

function Ends.nobody()
  return { known = false }
end

function Woken.add(woken, arrival, id)
  if not arrival or woken.known and woken.known[arrival] then
    return
  end
  woken.known = woken.known or {}
  woken.known[arrival] = true
  local at = #woken + 1
  while at > 1 do
    local parent = math.floor(at / 2)
    if woken[parent][1] <= arrival then
      break
    end
    woken[at] = woken[parent]
    at = parent
  end
  woken[at] = { arrival, id }
end

function Woken.add_all(woken, ids)
  for at = 1, #ids, 2 do
    Woken.add(woken, tonumber(ids[at + 1]), ids[at])
  end
end

Ends.wake = Woken.add

function Woken.take(woken)
  local first, last = woken[1], table.remove(woken)
  if #woken == 0 then
    return first
  end
  local at = 1
  while true do
    local child = at * 2
    if child < #woken and woken[child + 1][1] < woken[child][1] then
      child = child + 1
    end
    if child > #woken or woken[child][1] >= last[1] then
      break
    end
    woken[at] = woken[child]
    at = child
  end
  woken[at] = last
  return first
end

-- Ends a hold of a lock.
function Ends.let_go(lock, request, woken)
  Locks.drop(lock, request)
  if Locks.waiting(lock) == 0 then
    return
  end
  -- As long as readers hold it, a reader less lets nobody in.
  local is_free = lock.holders == 0
  if is_free and lock.mode ~= SHARED then
    Woken.add_all(woken, Queues.leading_readers(lock, 0))
  end
  if is_free or lock.mode ~= SHARED then
    Woken.add(woken, Queues.first_blocking(lock))
  end
end

-- Takes one who waited out of a queue.
function Ends.dequeue(lock, request, woken)
  local first_other = Queues.first_other(lock)
  Queues.leave(lock, request)
  if Locks.waiting(lock) == 0 then
    return
  end
  local arrival, id = Queues.first_blocking(lock)
  if arrival and arrival > request.arrival then
    Woken.add(woken, arrival, id)
  end
  if first_other ~= request.arrival then
    return
  end
  -- Nobody excludes these readers any more, but perhaps the holders do; then
  -- only their own transaction's get what they ask for.
  if Locks.admits(lock, SHARED) then
    Woken.add_all(woken, Queues.leading_readers(lock, request.arrival))
  elseif lock.id and Requests.get(lock.id).life ~= '' then
    local life = Requests.get(lock.id).life
    local readers = Queues.leading_readers(lock, request.arrival)
    for at = 1, #readers, 2 do
      if Requests.get(readers[at]).life == life then
        Woken.add(woken, tonumber(readers[at + 1]), readers[at])
      end
    end
  end
end

local END_OF_GRANT = { ['ran-out'] = 'expired', ['session-ran-out'] = 'expired', forced = 'forced' }

local function tell_end_of_grant(request, how)
  local kind = END_OF_GRANT[how] or 'released'
  S.held = S.held - 1
  Tell.count(kind)
  Tell.count('hold', S.now - request.since)
  if request.repeatable and how ~= 'abandoned' then
    Ended.remember(request.id, WAS_GRANTED)
  end
  Tell.holders(request, how)
  if how == 'forced' and request.kind == 's' then
    local session = Sessions.get(string.sub(request.life, 2))
    if session.node then
      Tell.node(session.node, { 'lost', session.id, request.token, request.locks })
    end
  end
  Tell.watchers(request, kind)
end

local function tell_end_of_wait(request, how, cycle)
  S.waiting = S.waiting - 1
  if how == 'ran-out' then
    Tell.count('timed_out')
    Tell.waiters(request, 'timed-out', request.id)
  elseif how == 'deadlock' then
    Tell.count('deadlocks')
    Tell.waiters(request, 'deadlock', request.id, cycle)
  else
    Tell.count('cancelled')
    Tell.waiters(request, 'cancelled', request.id)
  end
  if request.repeatable and how == 'given-back' then
    Ended.remember(request.id, NEVER_GRANTED)
  end
  Tell.watchers(request, 'left')
end

-- Takes a request out, and says what has to be said of that. Whoever calls
-- serves those who are woken.
function Ends.finish(request, how, woken, cycle)
  if not request then
    return
  end
  if Requests.is_held(request) then
    tell_end_of_grant(request, how)
  else
    tell_end_of_wait(request, how, cycle)
  end
  Deadlock.forget(request)
  Deadlock.step_over(request)
  Requests.remove(request, woken)
end

-- Ends those members of a set that are its first, or as many of them as this call
-- may still free locks. Whether that was all.
function Ends.members(set, members, how, woken)
  for _, member in ipairs(members) do
    if Deadlines.has_freed_enough() then
      return false
    end
    local request = Requests.get(string.sub(member, -16))
    if request then
      Deadlines.note_freed(#request.locks)
      Ends.finish(request, how, woken)
    else
      -- Without a record it would never be over.
      call('ZREM', set, member)
    end
  end
  return true
end

function Ends.one(request, how, cycle)
  local woken = Ends.nobody()
  Ends.finish(request, how, woken, cycle)
  Ends.hand_over(woken)
end

-- Whether a transaction holds all that its request waits for by now.
local function has_all(request)
  for _, name in ipairs(request.locks) do
    if not Locks.view(Locks.get(name), request) then
      return false
    end
  end
  return true
end

-- Serves a waiting request that is servable: it now holds, under `token`, what it
-- was queued for. What its transaction has come to hold meanwhile stays with the
-- grant that has it. Answers what is told.
local function serve(request, token, woken)
  Deadlines.suspend(request)
  Accounts.count(request, -1)
  Nodes.wait_ends(request)
  local queued, new, own = request.locks, {}, {}
  for place, name in ipairs(queued) do
    own[place] = Locks.view(Locks.get(name), request)
    if not own[place] then
      new[#new + 1] = name
    end
  end
  local waiting = { id = request.id, arrival = request.arrival, mode = request.mode }
  request.token, request.since = token, S.now
  local tokens = Requests.tokens(request, own)

  -- Held before it is dequeued: at no moment is the lock idle.
  for _, name in ipairs(new) do
    Locks.hold(Locks.get(name), request)
  end
  for _, name in ipairs(queued) do
    Ends.dequeue(Locks.get(name), waiting, woken)
  end
  if #new < #queued then
    local views = {}
    for at = 1, #tokens, 3 do
      if tokens[at + 2] == 0 then
        table.insert(views, { (at - 1) / 3, tokens[at], tokens[at + 1] })
      end
    end
    request.views, request.locks = views, new
  end
  -- The lease begins when a node has heard: at once, if it hears by the answer.
  local hears = Nodes.is_asked(request, S.node) and Nodes.lives(S.node)
  request.provisional = #new > 0 and not hears
  if request.provisional then
    request.due = S.now + CLAIM
  else
    request.due = #new > 0 and request.lease and S.now + request.lease
  end
  Requests.changed(request)
  Accounts.count(request, 1)
  Deadlines.resume(request)
  local lease = #new > 0 and request.lease or -1
  return { 'granted', request.id, S.now, lease, S.now - request.asked, tokens }
end

-- Whether a waiting request can be served: it is its turn in each of its queues,
-- and those who hold those locks leave room for it.
local function is_servable(id, arrival)
  local request = Requests.get(id)
  return request and request.arrival == arrival and not Requests.is_held(request)
    and not Acquire.awaited(request)
end

-- Whether anybody still waits for an answer.
local function is_awaited(request)
  if Sessions.has_ended_for(request) then
    return false
  end
  for _, node in ipairs(request.nodes) do
    if Nodes.lives(node) then
      return true
    end
  end
  return false
end

-- How many waits that nobody awaits one call ends at most when it would be their
-- turn.
local ABANDONED_MAX = 64

-- Ends a wait that nobody awaits. If it is one too many for this call, it is
-- brought forward: later ones end it, and go on behind it.
local function abandon(request, woken)
  S.abandoned = S.abandoned + 1
  if S.abandoned <= ABANDONED_MAX then
    Ends.finish(request, 'abandoned', woken)
  else
    Deadlines.add(S.now, Deadlines.of_request(request))
    S.is_behind = true
  end
end

-- Serves, oldest first, every waiter that can be served now. Serving one may
-- wake others, which arrived later (or belong to the same transaction and so are
-- served as well), so the order holds. Nobody is while the space is recovered.
function Ends.hand_over(woken)
  if S.recovering > 0 then
    return Recovery.keep(woken)
  end
  while #woken > 0 do
    local arrival, id = unpack(Woken.take(woken))
    if is_servable(id, arrival) then
      local request = Requests.get(id)
      if is_awaited(request) then
        Ends.give(request, woken)
      else
        abandon(request, woken)
      end
    end
  end
end

-- It is time for a request to end: for its lease or its wait; or for a wait that was
-- brought forward, unless somebody has come to await it since.
function Ends.run_out(request)
  if Requests.is_held(request) or request.due <= S.now then
    if not Ends.is_kept(request) then
      Ends.one(request, 'ran-out')
    end
  elseif not is_awaited(request) then
    Ends.one(request, 'abandoned')
  else
    Deadlines.resume(request)
    local woken = Ends.nobody()
    Woken.add(woken, request.arrival, request.id)
    Ends.hand_over(woken)
  end
end

function Ends.give(request, woken)
  Deadlock.forget(request)
  -- What its transaction has come to hold meanwhile needs no grant.
  local needs_grant = not (Requests.is_of_transaction(request) and has_all(request))
  local token = Acquire.next_token()
  if not needs_grant then
    Tell.watchers(request, 'left')
  end
  local told = serve(request, token, woken)
  S.waiting = S.waiting - 1
  Tell.count('wait', told[5])
  if needs_grant then
    Acquire.begins(request)
  else
    Requests.remove(request, woken)
  end
  Tell.waiters(request, unpack(told))
end

-- A grant that no node has claimed is kept for CLAIM after one of those that it
-- was handed to was heard of last, because one that lives claims it or gives it
-- back; but not for ever, because what it says may be lost.
function Ends.is_kept(request)
  if not request.provisional then
    return false
  end
  local until_then = 0
  for _, node in ipairs(request.nodes) do
    local record = Nodes.get(node)
    until_then = math.max(until_then, record and record.heard + CLAIM or 0)
  end
  until_then = math.min(until_then, request.since + KEPT_MAX)
  if until_then <= S.now then
    return false
  end
  Deadlines.suspend(request)
  request.due = until_then
  Requests.changed(request)
  Deadlines.resume(request)
  return true
end

-- A node says that it has heard of a grant: its lease begins.
function Ends.claim(request)
  Deadlines.suspend(request)
  request.provisional = false
  request.due = request.lease and S.now + request.lease
  Requests.changed(request)
  Deadlines.resume(request)
end

-- Operations -----------------------------------------------------------------

-- Claims a grant that was handed over, by its token: the same id may have been
-- granted anew.
function Ends.claim_one(id, token)
  Nodes.note_heard()
  local request = Requests.get(id)
  if not request or request.token ~= token or Sessions.is_over_for(request) then
    return { 'lost' }
  end
  if request.provisional then
    Ends.claim(request)
  end
  return { 'claimed', Requests.remaining(request) }
end

-- Makes a grant last at least `lease` from now, or the longest lease it was
-- given. Never shortens, never revives.
function Ends.renew(id, principal, lease)
  local request = Requests.get(id)
  if not request then
    Tell.count('lost')
    return { 'lost' }
  elseif not Requests.is_of(request, principal) then
    return { 'not-holder' }
  elseif not Requests.is_held(request) or request.due and request.due <= S.now
    or Sessions.is_over_for(request)
  then
    Tell.count('lost')
    return { 'lost' }
  end
  if request.provisional then
    Ends.claim(request)
  end
  local longest = lease or request.lease
  if longest and request.due then
    Deadlines.suspend(request)
    request.due = math.max(request.due, S.now + longest)
    if not request.lease or request.lease < longest then
      request.lease = longest
    end
    Requests.changed(request)
    Deadlines.resume(request)
  end
  local remaining = Requests.remaining(request)
  if remaining < 0 then
    remaining = Sessions.remaining_of(request)
  end
  Nodes.asks_too(request, S.node, 0)
  return { 'renewed', request.locks, request.mode, request.token, request.since, remaining,
    request.principal, request.owner, request.label, request.lease or -1, request.life,
    request.repeatable }
end

-- Ends a grant, or the wait for it.
function Ends.release(id, principal)
  local request = Requests.get(id)
  if not request then
    return { 'already' }
  elseif not Requests.is_of(request, principal) then
    return { 'not-holder' }
  end
  Ends.one(request, 'given-back')
  return { 'released' }
end

-- Ends a grant, or the wait for it; or refuses an id that was never seen when it
-- comes.
function Ends.cancel(id, principal)
  local request = Requests.get(id)
  if request then
    if not Requests.is_of(request, principal) then
      return { 'not-holder' }
    end
    local found = Requests.is_held(request) and 'granted' or 'cancelled'
    Ends.one(request, 'given-back')
    return { found }
  end
  local ended = Ended.get(id)
  if ended then
    return { ended == WAS_GRANTED and 'granted' or 'cancelled' }
  elseif Ended.remember_unseen(id, principal) then
    return { 'cancelled' }
  end
  Tell.count('over_quota')
  return { 'quota', 'a principal cancels at most ' .. S.limits.cancels_per_principal
    .. ' requests that were not seen' }
end

-- Nobody at this node waits for an answer any more up to the asker of that
-- number, and none has heard of a grant. If nobody does anywhere the wait ends,
-- or the grant is given back: the same id may be asked again. If somebody has
-- asked since, this comes late and ends nothing.
function Ends.abandon(id, asker)
  Nodes.gives_up_earlier()
  local request = Requests.get(id)
  if request and not Nodes.is_asked_after(request, S.node, asker) then
    local waits_elsewhere = #request.nodes > 0 and not Nodes.wait_leaves(request, S.node)
    if not waits_elsewhere then
      Ends.one(request, 'abandoned')
    end
  end
  return { 'abandoned' }
end

-- Takes every grant that holds a name, with all its names, from its holder; or
-- none, if the patterns of whoever asks do not cover all of those names.
function Ends.force_release(name, patterns)
  local lock = Locks.get(name)
  if not lock then
    return { 'taken', {} }
  end
  local holders = Locks.holders_behind(lock, 0, lock.holders)
  for at = 1, #holders, 2 do
    if not covers(patterns, Requests.get(holders[at]).locks) then
      return { 'not-permitted' }
    end
  end
  local woken, taken = Ends.nobody(), {}
  for at = 1, #holders, 2 do
    local request = Requests.get(holders[at])
    taken[#taken + 1] = { request.locks, request.token, request.principal, request.owner,
      request.label }
    Ends.finish(request, 'forced', woken)
  end
  Ends.hand_over(woken)
  return { 'taken', taken }
end

-- Ends every grant and every wait of a transaction.
function Ends.transaction(life)
  local woken = Ends.nobody()
  for _, id in ipairs(Groups.members(Groups.of_life(life))) do
    Ends.finish(Requests.get(id), 'closed', woken)
  end
  Ends.hand_over(woken)
  return { 'ended' }
end
