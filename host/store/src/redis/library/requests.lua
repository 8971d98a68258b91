-- Requests for locks, which wait or hold, and what each principal has of them.
--
-- A request has:
--
--   id, arrival, asked     its identity, its place in every queue, and when
--   mode                   EXCLUSIVE, SHARED, or the number of permits
--   locks                  the names it holds or is queued for, as it named them
--   views                  what else it named and its transaction had already:
--                          { place, name, token } each
--   lease                  the longest it was given, or false
--   token, since           0 while it waits
--   due                    when it runs out, or false
--   principal, owner, label; owner is false if it names none
--   life                   '' or 's' and its session's id, or 't', its node (16
--                          bytes) and its transaction's id
--   kind                   that of its life: '', 's', or 't'
--   repeatable             whether its id was made from a request id
--   nodes, askers          where it was asked, less those where everybody left,
--                          and the number of the last asker at each
--   provisional            whether no node has claimed it yet

local EXCLUSIVE, SHARED = 0, -1

local function read(id, text)
  local arrival, asked, mode, locks, views, lease, token, since, due, principal, owner, label, life,
    repeatable, nodes, askers, provisional = cmsgpack.unpack(text)
  return { id = id, arrival = arrival, asked = asked, mode = mode, locks = locks, views = views,
    lease = lease, token = token, since = since, due = due, principal = principal, owner = owner,
    label = label, life = life, kind = string.sub(life, 1, 1), repeatable = repeatable,
    nodes = nodes, askers = askers, provisional = provisional, is_changed = false, is_new = false }
end

local function packed(it)
  return cmsgpack.pack(it.arrival, it.asked, it.mode, it.locks, it.views, it.lease, it.token,
    it.since, it.due, it.principal, it.owner, it.label, it.life, it.repeatable, it.nodes,
    it.askers, it.provisional)
end

function Requests.get(id)
  local request = S.requests[id]
  if request == nil then
    local text = call('HGET', key('r'), id)
    request = text and read(id, text)
    S.requests[id] = request
  end
  return request
end

function Requests.changed(request)
  request.is_changed = true
end

function Requests.flush()
  write_records('r', S.requests, packed, S.requests_gone)
end

function Requests.is_held(request)
  return request.token > 0
end

-- Whether a principal may do what the holder may.
function Requests.is_of(request, principal)
  return request.principal == principal or principal == 'node'
end

function Requests.is_of_transaction(request)
  return request.kind == 't'
end

-- How long its lease lasts; -1 without one.
function Requests.remaining(request)
  if Requests.is_held(request) and request.due then
    return math.max(request.due - S.now, 0)
  end
  return -1
end

-- The name and token of each lock it asked for, in the order it named them, and
-- whether it holds that itself: flat, three by three. `tokens` tells those that
-- are not its own.
function Requests.tokens(request, tokens)
  local flat = {}
  for place, name in ipairs(request.locks) do
    local other = tokens and tokens[place]
    flat[place * 3 - 2], flat[place * 3 - 1] = name, other or request.token
    flat[place * 3] = other and 0 or 1
  end
  for _, view in ipairs(request.views or {}) do
    local at = math.min(view[1] * 3, #flat)
    table.insert(flat, at + 1, view[2])
    table.insert(flat, at + 2, view[3])
    table.insert(flat, at + 3, 0)
  end
  return flat
end

-- Takes in a request that holds its locks, or waits for them. Whoever calls has
-- seen that it may.
function Requests.insert(request)
  S.arrival = S.arrival + 1
  request.arrival = S.arrival
  request.is_new = true
  Requests.changed(request)
  S.requests[request.id] = request
  for _, group in ipairs(Groups.of(request)) do
    Groups.join(group, request)
  end
  Requests.enter_stage(request)
end

-- Takes a request out, whatever it is doing. `woken` are those who may be able
-- to go now.
function Requests.remove(request, woken)
  Requests.leave_stage(request, woken)
  for _, group in ipairs(Groups.of(request)) do
    Groups.leave(group, request)
  end
  if not request.is_new then
    S.requests_gone[request.id] = true
  end
  S.requests[request.id] = false
end

-- Enters a request into what depends on its stage.
function Requests.enter_stage(request)
  local held = Requests.is_held(request)
  local entangled = not held and Groups.is_entangled(request)
  for _, name in ipairs(request.locks) do
    local lock = Locks.find_or_add(name)
    if held then
      Locks.hold(lock, request)
    else
      Queues.enter(lock, request)
      if entangled then
        Queues.entangle(lock, request, true)
      end
    end
  end
  if not held then
    Nodes.wait_begins(request)
  end
  Accounts.count(request, 1)
  Deadlines.resume(request)
end

-- Strikes a request from what depends on its stage.
function Requests.leave_stage(request, woken)
  Deadlines.suspend(request)
  Accounts.count(request, -1)
  local held = Requests.is_held(request)
  if not held then
    Nodes.wait_ends(request)
  end
  for _, name in ipairs(request.locks) do
    local lock = Locks.get(name)
    if held then
      Ends.let_go(lock, request, woken)
    else
      Ends.dequeue(lock, request, woken)
    end
  end
end

-- Accounts -----------------------------------------------------------------

-- What is added to one while a call is under way; `before` is what there was, once
-- that was asked for.
local function account(what, principal)
  local accounts = S.accounts[what]
  local found = accounts[principal]
  if not found then
    found = { before = false, added = 0 }
    accounts[principal] = found
  end
  return found
end

function Accounts.add(what, principal, number)
  local found = account(what, principal)
  found.added = found.added + number
end

function Accounts.get(what, principal)
  local found = account(what, principal)
  found.before = found.before or tonumber(call('HGET', key(what), principal) or 0)
  return found.before + found.added
end

function Accounts.flush()
  for what, accounts in pairs(S.accounts) do
    for principal, found in pairs(accounts) do
      if found.added ~= 0 then
        call('HINCRBY', key(what), principal, found.added)
      end
    end
  end
end

-- Counts what a request has for or against its principal. Those of
-- transactions are not counted.
function Accounts.count(request, sign)
  if Requests.is_of_transaction(request) then
    return
  end
  Accounts.add('pl', request.principal, sign * #request.locks)
  if not Requests.is_held(request) then
    Accounts.add('pw', request.principal, sign)
  end
end
