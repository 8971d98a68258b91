-- Sessions: see the drawing in `store/sessions.rs`.
--
--   s    id -> { serial, ttl, grace, principal, owner, label, due, attachment, node, over }
--
-- `node` is where the connection is that it is attached to; false if it is
-- detached. `over` is how it has ended, while not all of its requests have;
-- false before.

local function read(id, text)
  local serial, ttl, grace, principal, owner, label, due, attachment, node, over =
    cmsgpack.unpack(text)
  return { id = id, serial = serial, ttl = ttl, grace = grace, principal = principal, owner = owner,
    label = label, due = due, attachment = attachment, node = node, over = over or false }
end

local function packed(it)
  return cmsgpack.pack(it.serial, it.ttl, it.grace, it.principal, it.owner, it.label, it.due,
    it.attachment, it.node, it.over)
end

function Sessions.get(id)
  local session = S.sessions[id]
  if session == nil then
    local text = call('HGET', key('s'), id)
    session = text and read(id, text)
    S.sessions[id] = session
  end
  return session
end

function Sessions.flush()
  write_records('s', S.sessions, packed, S.sessions_gone)
end

local function deadline(session)
  return SESSION .. sortable(session.serial) .. session.id
end

-- Makes a session last for so long from now.
local function keep(session, time)
  Deadlines.remove(deadline(session))
  session.due = S.now + time
  session.is_changed = true
  Deadlines.add(session.due, deadline(session))
end

local function is_of(session, principal)
  return session.principal == principal or principal == 'node'
end

-- Whether a session has ended, although what it has may not all have yet; or its
-- time is over, and more has run out than one call ends.
local function is_over(session)
  return not session or session.over or session.due <= S.now and S.recovering == 0
end

-- What may be done with a session: it, or why not.
function Sessions.find(id, principal)
  local session = Sessions.get(id)
  if is_over(session) then
    return nil, 'lost'
  elseif not is_of(session, principal) then
    return nil, 'not-holder'
  end
  return session
end

function Sessions.open(id, ttl, grace, principal, owner, label)
  if Sessions.get(id) then
    return { 'invalid', 'session', "the session's id is in use" }
  end
  local most = S.limits.sessions_per_principal
  if Accounts.get('ps', principal) >= most then
    Tell.count('over_quota')
    return { 'quota', 'a principal has at most ' .. most .. ' sessions' }
  end
  keep(Sessions.add(id, ttl, grace, principal, owner, label), grace)
  return { 'opened' }
end

-- One session more. Whoever calls says how long it lasts.
function Sessions.add(id, ttl, grace, principal, owner, label)
  Accounts.add('ps', principal, 1)
  S.open = S.open + 1
  S.arrival = S.arrival + 1
  local session = { id = id, serial = S.arrival, ttl = ttl, grace = grace, principal = principal,
    owner = owner, label = label, due = 0, attachment = 0, node = false, over = false }
  S.sessions[id] = session
  return session
end

-- Whoever it was attached to is told, and it is attached to nobody.
local function unattach(session)
  if session.node then
    Tell.node(session.node, { 'unattached', session.id, session.attachment })
    call('SREM', key('a:') .. session.node, session.id)
    session.node = false
    session.is_changed = true
  end
end

function Sessions.attach(id, principal)
  local session, why = Sessions.find(id, principal)
  if not session then
    return { why }
  end
  unattach(session)
  Sessions.put(session, session.attachment + 1, S.node)
  local held = {}
  for _, member in ipairs(Groups.members(Groups.of_life('s' .. id))) do
    local request = Requests.get(member)
    if Requests.is_held(request) then
      Nodes.asks_too(request, S.node, 0)
      held[#held + 1] = { request.id, request.locks, request.mode, request.token, request.since,
        request.principal, request.owner, request.label, request.repeatable }
    end
  end
  return { 'attached', session.attachment, session.ttl, session.grace, session.principal,
    session.owner, session.label, held }
end

-- It is attached at a node, so much is known, and lives for its time to live.
function Sessions.put(session, attachment, node)
  if session.node and session.node ~= node then
    call('SREM', key('a:') .. session.node, session.id)
  end
  session.attachment = attachment
  session.node = node
  call('SADD', key('a:') .. node, session.id)
  keep(session, session.ttl)
end

function Sessions.beat(id, attachment)
  local session = Sessions.get(id)
  if is_over(session) then
    return { 'lost' }
  elseif not session.node or session.attachment ~= attachment then
    return { 'elsewhere' }
  end
  keep(session, session.ttl)
  return { 'beaten' }
end

-- The connection broke: the session lives for its grace.
function Sessions.detach(session)
  call('SREM', key('a:') .. session.node, session.id)
  session.node = false
  keep(session, session.grace)
end

function Sessions.detach_from(id, attachment)
  local session = Sessions.get(id)
  if session and session.node and session.attachment == attachment then
    Sessions.detach(session)
  end
  return { 'detached' }
end

-- The rest of a session that has ended is for later calls: nobody is to wait for
-- all of it.
local function ends_later(session, how)
  if not session.over then
    session.over = how
    -- A node that has not heard does not bring it back after a recovery.
    session.attachment = session.attachment + 1
    session.is_changed = true
  end
  Deadlines.add(S.now + PAUSE, deadline(session))
  S.is_behind = true
end

-- Ends a session: for everybody at once, and all its requests, before anybody is
-- served. It has so many of them at most ended by one call; later ones do the rest.
function Sessions.finish(session, how)
  Deadlines.remove(deadline(session))
  local woken, set = Ends.nobody(), Groups.of_life('s' .. session.id).key
  local members = call('ZRANGE', set, 0, FREED_MAX)
  local has_all = Ends.members(set, members, session.over or how, woken)
  local has_more = not has_all or #members > FREED_MAX
  unattach(session)
  if has_more then
    ends_later(session, how)
  else
    Accounts.add('ps', session.principal, -1)
    S.open = S.open - 1
    S.sessions_gone[session.id] = true
    S.sessions[session.id] = false
  end
  Ends.hand_over(woken)
end

local function of(request)
  return Sessions.get(string.sub(request.life, 2))
end

-- Whether a request is of a session that has ended, as far as is known: nothing is
-- given to it any more.
function Sessions.has_ended_for(request)
  if request.kind ~= 's' then
    return false
  end
  local session = of(request)
  return not session or session.over ~= false
end

-- Whether a request is of a session that is over.
function Sessions.is_over_for(request)
  return request.kind == 's' and is_over(of(request))
end

-- How long the session of a request lasts; -1 if it hangs on none.
function Sessions.remaining_of(request)
  if request.kind ~= 's' then
    return -1
  end
  return math.max(of(request).due - S.now, 0)
end

-- Whoever closes a session asks until all of it has ended.
function Sessions.close(id, principal)
  local session = Sessions.get(id)
  if session and not is_of(session, principal) then
    return { 'not-holder' }
  elseif session then
    Sessions.finish(session, 'closed')
  end
  return { Sessions.get(id) and 'closing' or 'closed' }
end
