-- Locks that are not idle: who holds each, and how many wait.
--
-- A lock has:
--
--   name, mode       how it is held; of no meaning while nobody holds it
--   holders          how many hold it
--   token, id        the one who does, if it is one; several are in h:NAME
--   r, w, p          how many readers, writers and others wait
--
-- Of one that is held by one, and nobody waits, the record is ONE and the id: the
-- rest is what the request has.

-- A byte with which nothing that is packed begins.
local ONE = '\193'

local function read(name, text)
  if string.sub(text, 1, 1) == ONE then
    local id = string.sub(text, 2)
    local holder = Requests.get(id)
    return { name = name, mode = holder.mode, token = holder.token, id = id, holders = 1, r = 0,
      w = 0, p = 0, is_changed = false, is_new = false }
  end
  local mode, token, id, holders, r, w, p = cmsgpack.unpack(text)
  return { name = name, mode = mode, token = token, id = id, holders = holders, r = r, w = w, p = p,
    is_changed = false, is_new = false }
end

local function packed(it)
  if it.holders == 1 and Locks.waiting(it) == 0 then
    return ONE .. it.id
  end
  return cmsgpack.pack(it.mode, it.token, it.id, it.holders, it.r, it.w, it.p)
end

function Locks.get(name)
  local lock = S.locks[name]
  if lock ~= nil then
    return lock
  end
  local text = call('HGET', key('l'), name)
  lock = text and read(name, text)
  S.locks[name] = lock
  return lock
end

-- Reads several that will be asked for, by as few commands as can be.
function Locks.fetch(names)
  local unread = {}
  for _, name in ipairs(names) do
    if S.locks[name] == nil then
      unread[#unread + 1] = name
    end
  end
  for from = 1, #unread, WORDS_MAX do
    local to = math.min(#unread, from + WORDS_MAX - 1)
    local texts = call('HMGET', key('l'), unpack(unread, from, to))
    for at = from, to do
      local text = texts[at - from + 1]
      S.locks[unread[at]] = text and read(unread[at], text)
    end
  end
end

function Locks.find_or_add(name)
  local lock = Locks.get(name)
  if not lock then
    lock = { name = name, mode = EXCLUSIVE, token = false, id = false, holders = 0, r = 0, w = 0,
      p = 0, is_changed = false, is_new = true }
    S.locks[name] = lock
  end
  return lock
end

function Locks.flush()
  local written, struck = {}, {}
  for name, lock in pairs(S.locks) do
    if lock and lock.is_changed then
      if not Locks.is_idle(lock) then
        written[#written + 1] = name
        written[#written + 1] = packed(lock)
      elseif not lock.is_new then
        struck[#struck + 1] = name
      end
    end
  end
  do_all('HSET', key('l'), written)
  do_all('HDEL', key('l'), struck)
end

function Locks.waiting(lock)
  return lock.r + lock.w + lock.p
end

-- Whether nobody holds it and nobody waits.
function Locks.is_idle(lock)
  return not lock or lock.holders + Locks.waiting(lock) == 0
end

-- How many hold it together, or will as soon as it is theirs.
function Locks.readers(lock)
  if lock.mode == SHARED then
    return lock.holders + lock.r
  end
  return lock.r
end

-- The number of permits with which it is held or waited for, if it is.
function Locks.permits(lock)
  if lock.holders > 0 and lock.mode > 0 then
    return lock.mode
  end
  if lock.p > 0 then
    local _, id = Queues.first(lock, 'p')
    return Requests.get(id).mode
  end
end

-- Whether those who hold it leave room for one more in this mode.
function Locks.admits(lock, mode)
  if lock.holders == 0 then
    return true
  elseif lock.mode == SHARED then
    return mode == SHARED
  end
  return lock.mode > 0 and lock.mode == mode and lock.holders < mode
end

-- Whether somebody who comes now would have to let nobody pass first.
function Locks.is_open_to_new(lock, mode)
  return Locks.waiting(lock) == 0 or mode == SHARED and lock.w + lock.p == 0
end

function Locks.hold(lock, request)
  lock.is_changed = true
  lock.mode = request.mode
  lock.holders = lock.holders + 1
  if lock.holders == 1 then
    lock.token, lock.id = request.token, request.id
    return
  end
  if lock.token then
    call('ZADD', key('h:') .. lock.name, lock.token, lock.id)
    lock.token, lock.id = false, false
  end
  call('ZADD', key('h:') .. lock.name, request.token, request.id)
end

function Locks.drop(lock, request)
  lock.is_changed = true
  lock.holders = lock.holders - 1
  if lock.token then
    lock.token, lock.id = false, false
    return
  end
  local holders = key('h:') .. lock.name
  call('ZREM', holders, request.id)
  if lock.holders == 1 then
    local last = call('ZRANGE', holders, 0, 0, 'WITHSCORES')
    lock.id, lock.token = last[1], tonumber(last[2])
    call('DEL', holders)
  end
end

-- The ids of those whose tokens are greater than `after`, the longest first, so
-- many at most, with their tokens.
function Locks.holders_behind(lock, after, most)
  if lock.token then
    if lock.token > after and most > 0 then
      return { lock.id, lock.token }
    end
    return {}
  elseif lock.holders == 0 then
    return {}
  end
  return call('ZRANGE', key('h:') .. lock.name, '(' .. string.format('%.0f', after), '+inf',
    'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
end

-- Whether somebody holds it by this token.
function Locks.is_held_by(lock, token)
  return tonumber(Locks.holders_behind(lock, token - 1, 1)[2]) == token
end

-- The one who has held it for the longest.
function Locks.first_holder(lock)
  local first = Locks.holders_behind(lock, 0, 1)
  return first[1] and Requests.get(first[1])
end

-- How a transaction holds a lock: the request by which it does.
function Locks.own(lock, life)
  if not lock or lock.holders == 0 or life == '' then
    return nil
  end
  if lock.id then
    local holder = Requests.get(lock.id)
    return holder.life == life and holder or nil
  end
  for _, id in ipairs(Groups.members(Groups.of_life(life))) do
    local own = Requests.get(id)
    if Requests.is_held(own) then
      for _, name in ipairs(own.locks) do
        if name == lock.name then
          return own
        end
      end
    end
  end
end

-- Whether who holds a lock in one mode has what another gives.
function Locks.covers(held, asked)
  return held == EXCLUSIVE or held == asked
end

-- The token by which a transaction's request has a lock without a grant of its
-- own.
function Locks.view(lock, request)
  if Requests.is_of_transaction(request) then
    local own = Locks.own(lock, request.life)
    return own and Locks.covers(lock.mode, request.mode) and own.token or nil
  end
end

-- Queues ---------------------------------------------------------------------
--
-- Who waits for a lock: one line for each mode, which together are one queue.
-- So whether anybody who excludes readers is ahead of one is a comparison.

local QUEUES = { r = 'qr:', w = 'qw:', p = 'qp:', e = 'qe:' }

local function line_of(mode)
  return mode == EXCLUSIVE and 'w' or mode == SHARED and 'r' or 'p'
end

local function queue(lock, line)
  return key(QUEUES[line]) .. lock.name
end

function Queues.enter(lock, request)
  local line = line_of(request.mode)
  lock.is_changed = true
  lock[line] = lock[line] + 1
  call('ZADD', queue(lock, line), request.arrival, request.id)
end

function Queues.leave(lock, request)
  local line = line_of(request.mode)
  lock.is_changed = true
  lock[line] = lock[line] - 1
  call('ZREM', queue(lock, line), request.id)
  call('ZREM', queue(lock, 'e'), request.id)
end

-- Says whether one who waits leads from this queue to another.
function Queues.entangle(lock, request, does)
  if does then
    call('ZADD', queue(lock, 'e'), request.arrival, request.id)
  else
    call('ZREM', queue(lock, 'e'), request.id)
  end
end

-- The arrival and id of the first of a line.
function Queues.first(lock, line)
  if lock[line] > 0 then
    local first = call('ZRANGE', queue(lock, line), 0, 0, 'WITHSCORES')
    return tonumber(first[2]), first[1]
  end
end

local function earlier(arrival, id, other_arrival, other_id)
  if other_arrival and (not arrival or other_arrival < arrival) then
    return other_arrival, other_id
  end
  return arrival, id
end

-- The first that is not a reader.
function Queues.first_other(lock)
  local arrival, id = Queues.first(lock, 'w')
  return earlier(arrival, id, Queues.first(lock, 'p'))
end

-- The first of all, if it is not a reader.
function Queues.first_blocking(lock)
  local arrival, id = Queues.first_other(lock)
  local reader = arrival and Queues.first(lock, 'r')
  if arrival and (not reader or reader > arrival) then
    return arrival, id
  end
end

-- The readers that arrived after `after` and whom nobody ahead excludes: id and
-- arrival of each.
function Queues.leading_readers(lock, after)
  if lock.r == 0 then
    return {}
  end
  local to = Queues.first_other(lock)
  return call('ZRANGE', queue(lock, 'r'), after, to and '(' .. to or '+inf', 'BYSCORE',
    'WITHSCORES')
end

-- Whether it is the turn of one who waits. Readers go as soon as nobody ahead
-- excludes them; all others one by one.
function Queues.is_turn_of(lock, request)
  if request.mode == SHARED then
    local other = Queues.first_other(lock)
    return not other or other > request.arrival
  end
  return Queues.first_blocking(lock) == request.arrival
end

-- The last of a line ahead of an arrival.
local function last_before(lock, line, arrival)
  if lock[line] > 0 then
    local last = call('ZRANGE', queue(lock, line), '(' .. arrival, '-inf', 'BYSCORE', 'REV',
      'LIMIT', 0, 1, 'WITHSCORES')
    return tonumber(last[2]), last[1]
  end
end

local function later(arrival, id, other_arrival, other_id)
  if other_arrival and (not arrival or other_arrival > arrival) then
    return other_arrival, other_id
  end
  return arrival, id
end

-- The last ahead of an arrival that is not a reader.
function Queues.other_before(lock, arrival)
  local last, id = last_before(lock, 'w', arrival)
  return later(last, id, last_before(lock, 'p', arrival))
end

-- The last ahead of an arrival.
function Queues.before(lock, arrival)
  local last, id = Queues.other_before(lock, arrival)
  return later(last, id, last_before(lock, 'r', arrival))
end

-- Whether anybody ahead asks for something else than permits.
function Queues.has_no_permits_before(lock, arrival)
  local first = earlier(Queues.first(lock, 'w'), nil, (Queues.first(lock, 'r')), nil)
  return first ~= nil and first < arrival
end

-- The first of the entangled behind `after` and ahead of `bound`.
function Queues.entangled_between(lock, after, bound)
  if Locks.waiting(lock) > 0 and after + 1 < bound then
    local first = call('ZRANGE', queue(lock, 'e'), '(' .. after, '(' .. bound, 'BYSCORE',
      'LIMIT', 0, 1, 'WITHSCORES')
    return tonumber(first[2]), first[1]
  end
end
