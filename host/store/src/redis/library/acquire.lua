-- Asking for locks.

-- The longest a grant that was handed over after a wait is kept for a node that
-- does not claim it.
local CLAIM = 1000000

-- The longest it is kept for one that lives.
local KEPT_MAX = 30000000

-- What a request of an ended id is answered.
local ENDED = { [WAS_GRANTED] = 'lost', [NEVER_GRANTED] = 'cancelled' }

-- The answer to a request that holds its locks, and whether it is the first.
local function granted(request, is_new)
  return { 'granted', request.since, Requests.remaining(request),
    request.since - request.asked, Requests.tokens(request), is_new }
end

-- The first lock that a waiting request cannot have yet.
function Acquire.awaited(request)
  for _, name in ipairs(request.locks) do
    local lock = Locks.get(name)
    local can_go = Queues.is_turn_of(lock, request)
      and (Locks.admits(lock, request.mode) or Locks.view(lock, request))
    if not can_go then
      return name
    end
  end
end

local function is_same(before, request)
  if before.mode ~= request.mode or before.life ~= request.life
    or not Requests.is_of(before, request.principal)
  then
    return false
  end
  local named = {}
  local count = #before.locks + #(before.views or {})
  for _, name in ipairs(before.locks) do
    named[name] = true
  end
  for _, view in ipairs(before.views or {}) do
    named[view[2]] = true
  end
  for _, name in ipairs(request.names) do
    if not named[name] then
      return false
    end
  end
  return count == #request.names
end

-- The same request, asked again, is told how the first one stands. Only a node
-- that asks again itself may repeat an id that it made up.
local function asked_before(before, request, again)
  if not again and not (request.repeatable and before.repeatable) then
    return { 'invalid', 'request-id', "the grant's id is in use" }
  elseif not is_same(before, request) then
    return { 'invalid', 'request-id', 'the request id stands for another request' }
  elseif Requests.is_held(before) then
    local answer = granted(before, false)
    -- In the order of this request, which may be another than that of the first.
    local at, ordered = {}, {}
    for i = 1, #answer[5], 3 do
      at[answer[5][i]] = i
    end
    for _, name in ipairs(request.names) do
      for i = at[name], at[name] + 2 do
        ordered[#ordered + 1] = answer[5][i]
      end
    end
    answer[5] = ordered
    if before.provisional then
      Ends.claim(before)
      answer[3] = Requests.remaining(before)
    end
    Nodes.asks_too(before, S.node, request.askers[1])
    return answer
  end
  -- Whoever does not wait is not kept waiting by an earlier asker.
  local awaited = request.wait == 0 and Acquire.awaited(before)
  if awaited then
    return { 'held', awaited }
  end
  if Nodes.asks_too(before, S.node, request.askers[1]) then
    Nodes.wait_begins(before)
  end
  return { 'waiting' }
end

local function too_many_holders()
  return 'a lock has at most ' .. S.limits.holders_per_lock .. ' holders'
end

-- How one lock stands to a request that does not hold it.
local function survey_lock(lock, request, survey)
  local mode = request.mode
  local permits = mode > 0 and Locks.permits(lock)
  if permits and permits ~= mode then
    return { 'invalid', 'permits',
      '`' .. lock.name .. '` has ' .. permits .. ' permits, not ' .. mode }
  end
  if not Locks.admits(lock, mode) or not Locks.is_open_to_new(lock, mode) then
    survey.blocked = survey.blocked or lock.name
  end
  if mode == SHARED and Locks.readers(lock) >= S.limits.holders_per_lock then
    survey.over = too_many_holders()
  end
  local most = S.limits.waiters_per_lock
  if Locks.waiting(lock) >= most then
    survey.over_waiting = 'a lock takes at most ' .. most .. ' waiters'
  end
end

-- Looks at every name: what its transaction has, what is not free, which limits
-- are reached; or why the request is not allowed.
local function look_at_all(request)
  local survey = { views = {}, locks = {} }
  for place, name in ipairs(request.names) do
    local lock = Locks.get(name)
    local own = lock and Requests.is_of_transaction(request) and Locks.own(lock, request.life)
    if not lock then
      table.insert(survey.locks, name)
    elseif own then
      if not Locks.covers(lock.mode, request.mode) then
        local field = lock.mode > 0 and request.mode > 0 and 'permits' or 'mode'
        return nil, { 'invalid', field, 'the transaction holds `' .. name
          .. '` in another mode, which cannot be changed' }
      end
      table.insert(survey.views, { place - 1, name, own.token })
    else
      table.insert(survey.locks, name)
      local refusal = not Locks.is_idle(lock) and survey_lock(lock, request, survey)
      if refusal then
        return nil, refusal
      end
    end
  end
  return survey
end

-- The limit that a request runs into, if it does: of a lock, a session, or its
-- principal's.
local function over_quota(request, survey, waits)
  local limits = S.limits
  if request.mode > limits.holders_per_lock then
    return too_many_holders()
  end
  local over = survey.over or waits and survey.over_waiting
  if over or Requests.is_of_transaction(request) then
    return over
  end
  if request.kind == 's'
    and Groups.count(Groups.of_life(request.life)) >= limits.grants_per_session
  then
    return 'a session holds and awaits at most ' .. limits.grants_per_session .. ' grants'
  end
  local principal = request.principal
  if Accounts.get('pl', principal) + #request.names > limits.locks_per_principal then
    return 'a principal holds and awaits at most ' .. limits.locks_per_principal .. ' locks'
  end
  if waits and Accounts.get('pw', principal) >= limits.waiters_per_principal then
    return 'a principal has at most ' .. limits.waiters_per_principal .. ' requests that wait'
  end
end

-- What a request is answered that its transaction needs nothing for.
local function only_views(survey)
  local flat = {}
  for _, view in ipairs(survey.views) do
    flat[#flat + 1], flat[#flat + 2], flat[#flat + 3] = view[2], view[3], 0
  end
  return { 'granted', S.now, -1, 0, flat, true }
end

-- Tokens rise with the time of the store and never repeat.
function Acquire.next_token()
  S.token = math.max(S.token + 1, math.floor(S.now / 1000) * 4096)
  return S.token
end

-- What every new grant brings with it.
function Acquire.begins(request)
  Tell.count('granted')
  S.held = S.held + 1
  Tell.watchers(request, 'granted')
end

-- Gives a request what it asked for and nobody else has.
local function hold(request)
  request.token, request.since = Acquire.next_token(), S.now
  request.due = request.lease and S.now + request.lease
  Requests.insert(request)
  Acquire.begins(request)
  return granted(request, true)
end

-- Lets a request wait, unless that would never end.
local function wait(request)
  request.due = S.now + request.wait
  Requests.insert(request)
  local cycle = Deadlock.search_from(request)
  if cycle then
    -- It is the last in every queue: nobody gets anything by its going.
    Requests.remove(request, Ends.nobody())
    return { 'deadlock', cycle }
  end
  S.waiting = S.waiting + 1
  Tell.watchers(request, 'queued')
  return { 'waiting' }
end

local function try(request, again)
  if request.kind == 's' then
    local _, why = Sessions.find(string.sub(request.life, 2), request.principal)
    if why then
      return { why == 'lost' and 'no-session' or why }
    end
  end
  local before = Requests.get(request.id)
  if before then
    return asked_before(before, request, again)
  end
  local ended = request.repeatable and Ended.get(request.id)
  if ended then
    return { ENDED[ended] }
  end
  local survey, refusal = look_at_all(request)
  if refusal then
    return refusal
  elseif #survey.locks == 0 then
    return only_views(survey)
  elseif survey.blocked and request.wait == 0 then
    return { 'held', survey.blocked }
  end
  local waits = survey.blocked ~= nil
  if waits then
    Tell.count('contended')
  end
  local over = over_quota(request, survey, waits)
  if over then
    return { 'quota', over }
  end
  local hangs_here = waits or Requests.is_of_transaction(request)
  if hangs_here and not Nodes.lives(S.node) then
    return { 'gone' }
  elseif request.kind ~= '' and Nodes.has_given_up() then
    -- It would hang on something that does not know of it.
    return { 'recovering', 0 }
  end
  request.locks = survey.locks
  request.views = #survey.views > 0 and survey.views
  return waits and wait(request) or hold(request)
end

-- Acquires every name, all or none, or queues for what is not free.
function Acquire.acquire(id, repeatable, names, mode, life, lease, wait_for, principal, owner, label,
  again, asker)
  local answer = try({
    id = id, repeatable = repeatable, names = names, mode = mode, life = life,
    kind = string.sub(life, 1, 1), lease = lease, wait = wait_for, principal = principal,
    owner = owner, label = label, asked = S.now, token = 0, since = 0, due = false,
    nodes = { S.node }, askers = { asker }, provisional = false,
  }, again)
  if answer[1] == 'held' then
    Tell.count('contended')
    Tell.count('refused')
  elseif answer[1] == 'deadlock' then
    Tell.count('deadlocks')
  elseif answer[1] == 'quota' then
    Tell.count('over_quota')
  end
  return answer
end
