-- Recovery: the server is another one, or has forgotten what it had.
--
-- Whoever notices first gives the space a new epoch, and for a while nothing
-- runs out, nobody is served and nothing new is granted. Meanwhile the nodes say
-- what they had: the numbers they have seen, their leases, sessions and grants.
-- Of two who say that they hold what only one can, the one with the higher token
-- does. What nobody says is as the server has it.
--
--   id   the key of the space's secrets, and the server it is on
--   ef   epochs it had before, the latest first
--   y    who may be able to go once the recovery is over, by arrival

local FORMER_MAX = 64

-- How many of those who could go meanwhile one call serves.
local SERVED_MAX = 64

-- Takes the space as it is found, or makes it. `known` is the epoch the node knew
-- it by ('' if it is new here); `seen` are the highest time, token, revision and
-- commit it has heard of. Answers the epoch and the key that hold.
function Recovery.open(wall, args)
  local epoch, secret, server, known = args[1], args[2], args[3], args[4]
  local seen_now, seen_token, seen_revision, seen_commit, reclaim = cmsgpack.unpack(args[5])
  local id, former = key('id'), key('ef')
  local text = call('GET', key('m'))
  local fields
  if text then
    fields = { struct.unpack(META, text) }
  else
    fields = { epoch, wall, wall, 0, 0, wall, 0, NEVER, -1, 0, 0, 0, 0, -1, 0 }
    call('HSET', id, 'key', secret, 'server', server)
  end
  -- What struct.unpack adds: where it stopped.
  fields[16] = nil
  local has_forgotten = known ~= '' and known ~= fields[1] and not call('LPOS', former, known)
  if call('HGET', id, 'server') ~= server then
    call('LPUSH', former, fields[1])
    call('HSET', id, 'server', server)
    fields[1], has_forgotten = epoch, true
  end
  if known ~= '' and known ~= fields[1] and not call('LPOS', former, known) then
    call('LPUSH', former, known)
  end
  call('LTRIM', former, 0, FORMER_MAX - 1)
  fields[3] = math.max(fields[3], seen_now)
  fields[4] = math.max(fields[4], seen_token)
  fields[6] = math.max(fields[6], seen_revision)
  fields[7] = math.max(fields[7], seen_commit)
  if has_forgotten then
    -- Whoever watches has missed something.
    fields[6] = fields[6] + 1
    fields[15] = math.max(fields[15], fields[3] + reclaim)
  end
  call('SET', key('m'), struct.pack(META, unpack(fields)))
  return { fields[1], call('HGET', id, 'key') }
end

-- Keeps those who may be able to go for the end of the recovery.
function Recovery.keep(woken)
  for _, entry in ipairs(woken) do
    call('ZADD', key('y'), entry[1], entry[2])
  end
end

-- Ends the recovery when it is time to, and serves those who could go meanwhile.
function Recovery.pass()
  if S.now < S.recovering then
    return
  end
  local until_then = S.recovering
  S.recovering = 0
  local kept, woken = call('ZPOPMIN', key('y'), SERVED_MAX), Ends.nobody()
  for at = 1, #kept, 2 do
    local request = Requests.get(kept[at])
    -- Whose time is over is not served any more.
    if request and not (request.due and request.due <= S.now) then
      Ends.wake(woken, request.arrival, request.id)
    end
  end
  Ends.hand_over(woken)
  if #kept == 2 * SERVED_MAX then
    S.recovering = until_then
  end
end

-- A node says that a session is attached there.
function Recovery.session(id, ttl, grace, principal, owner, label, attachment)
  local session = Sessions.get(id)
  if not session then
    session = Sessions.add(id, ttl, grace, principal, owner, label)
  elseif session.attachment > attachment then
    return { 'elsewhere' }
  end
  Sessions.put(session, attachment, S.node)
  return { 'attached' }
end

-- Whether a grant that somebody says to have can be, and with whom that ends.
local function find_room(grant)
  local others = {}
  for _, name in ipairs(grant.locks) do
    local lock = Locks.get(name)
    if not Locks.is_idle(lock) and not Locks.admits(lock, grant.mode) then
      -- Once others may have been granted something, nothing is taken from them.
      if S.recovering == 0 then
        return nil
      end
      local holders = Locks.holders_behind(lock, 0, lock.holders)
      for at = 1, #holders, 2 do
        if tonumber(holders[at + 1]) >= grant.token then
          return nil
        end
        others[#others + 1] = holders[at]
      end
    end
  end
  return others
end

-- A node says that it has a grant. Whether that is so.
local function has(grant, remaining, asker)
  local before = Requests.get(grant.id)
  if before and before.token == grant.token then
    if before.provisional then
      -- The server had not heard yet that it arrived.
      Ends.claim(before)
    end
    if before.due and remaining then
      Deadlines.suspend(before)
      before.due = math.max(before.due, S.now + remaining)
      Deadlines.resume(before)
    end
    Nodes.asks_too(before, S.node, asker)
    Requests.changed(before)
    return true
  end
  local session = string.sub(grant.life, 1, 1) == 's' and string.sub(grant.life, 2)
  if before and before.token > grant.token or session and not Sessions.get(session) then
    return false
  end
  local others = find_room(grant)
  if not others then
    return false
  end
  local woken = Ends.nobody()
  if before then
    -- It has come to be granted since, or anew: nobody is to be told of an end.
    S.waiting = S.waiting - (Requests.is_held(before) and 0 or 1)
    S.held = S.held - (Requests.is_held(before) and 1 or 0)
    Deadlock.forget(before)
    Deadlock.step_over(before)
    Requests.remove(before, woken)
  end
  for _, id in ipairs(others) do
    Ends.finish(Requests.get(id), 'forced', woken)
  end
  grant.due = remaining and S.now + remaining
  Requests.insert(grant)
  S.held = S.held + 1
  S.token = math.max(S.token, grant.token)
  Ends.hand_over(woken)
  return true
end

-- A node says which grants it has, up to the last asker there. Answers for each
-- whether it still does.
function Recovery.grants(grants, asker)
  local kept = {}
  for at, it in ipairs(grants) do
    local grant = { id = it[1], locks = it[2], mode = it[3], token = it[4], since = it[5],
      asked = it[5], lease = it[6], principal = it[8], owner = it[9], label = it[10],
      life = it[11], kind = string.sub(it[11], 1, 1), repeatable = it[12], views = false,
      nodes = { S.node }, askers = { asker }, provisional = false }
    kept[at] = has(grant, it[7], asker)
  end
  return { 'kept', kept }
end
