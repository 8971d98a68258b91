-- One call of a function: what it has read, what it has changed, what time it
-- is.
--
-- A call reads what it needs into tables of Lua, does to them what the state
-- machine in `core.rs` does, and writes back at its end what has changed. So a
-- record is read and written at most once in a call. Queues, groups and
-- deadlines are sorted sets and changed where they are: nothing that is done to
-- them can fail, because nobody else writes to our keys.
--
-- Keys, all in the slot of the space:
--
--   m            what there is one of: see META
--   l            lock name -> who holds it, how many wait (locks.lua)
--   h:NAME       its holders by token, if there are several
--   qr: qw: qp:  NAME: who waits, by arrival: readers, writers, for permits
--   qe:NAME      those of them that lead to other queues (deadlock.lua)
--   r            grant's id -> request (requests.lua)
--   s            session's id -> session (sessions.lua)
--   g:...        the requests of a session or a named owner (groups.lua)
--   t:NODE       the requests of a node's transactions
--   w:NODE       the requests that wait at a node
--   a:NODE       the sessions attached at a node
--   n            node -> its lease and how many messages it was sent (nodes.lua)
--   i:NODE       those messages, until it says that it has them
--   pl pw ps     principal -> locks, waits and sessions it has (requests.lua)
--   d            what runs out, by time (deadlines.lua)
--   e eo eu:     ids that have ended (ended.lua)
--   x xl         searches for deadlocks that are not finished (deadlock.lua)
--   v: k: vn: c  values, keys, versions and changes (state.lua)
--   o oo         outcomes of commits (state.lua)
--   ev           events for who watches (tell.lua)
--   id ef y      what recovery needs (recovery.lua)

-- The epoch, then numbers: wall clock and store time when it was read last,
-- the last token, arrival, revision and commit, a time before which nothing
-- runs out, until when somebody watches, how many grants are held, wait, and
-- sessions are open, when a search for deadlocks goes on (0: there is none), up
-- to when commits were forgotten for lack of room (-1: none), and until when the
-- space is recovered (0: it is not).
local META = '<c16dddddddddddddd'

-- A time that never comes.
local NEVER = 9007199254740991

-- How many things that have run out one call ends. The next goes on.
local OVERDUE_MAX = 128

local S -- the step that is under way

local Requests, Locks, Queues, Groups, Deadlines = {}, {}, {}, {}, {}
local Ended, Accounts, Sessions, Nodes, Tell = {}, {}, {}, {}, {}
local Acquire, Ends, Deadlock, State, Look, Recovery = {}, {}, {}, {}, {}, {}

local function call(...)
  return redis.call(...)
end

local function key(name)
  return S.tag .. name
end

-- A record of a hash: these fields, in their order; false if there is none.
local function read_record(hash, id, fields)
  local text = call('HGET', key(hash), id)
  if not text then
    return false
  end
  local record = { id = id }
  for at, value in ipairs(cmsgpack.unpack(text)) do
    record[fields[at]] = value
  end
  return record
end

-- Writes back those of a hash that have changed.
local function write_records(hash, records, fields)
  for id, record in pairs(records) do
    if record and record.is_changed then
      local values = {}
      for at, field in ipairs(fields) do
        values[at] = record[field]
      end
      call('HSET', key(hash), id, cmsgpack.pack(values))
    end
  end
end

-- Six bytes that compare as the number does.
local function sortable(number)
  return struct.pack('>I6', number)
end

-- How much the store takes, which is mostly what it was the last time.
local limits_text, limits

local function limits_of(text)
  if text ~= limits_text then
    local values = cmsgpack.unpack(text)
    limits = { holders_per_lock = values[1], waiters_per_lock = values[2],
      locks_per_principal = values[3], waiters_per_principal = values[4],
      sessions_per_principal = values[5], grants_per_session = values[6],
      cancels_per_principal = values[7], ended = values[8], records = values[9],
      steps = values[10] }
    limits_text = text
  end
  return limits
end

-- Begins a call. The arguments: the epoch the node knows, the node, what the
-- function needs, and how much the store takes.
local function begin(keys, args)
  local text = call('GET', keys[1])
  if not text then
    return false
  end
  S = {
    tag = string.sub(keys[1], 1, -2),
    node = args[2],
    requests = {},
    locks = {},
    sessions = {},
    tally = {},
  }
  local wall, now
  S.epoch, wall, now, S.token, S.arrival, S.revision, S.commit, S.next_due,
    S.watched, S.held, S.waiting, S.open, S.search_due, S.swept,
    S.recovering = struct.unpack(META, text)
  if S.epoch ~= args[1] then
    return false
  end
  S.limits = limits_of(args[4])
  S.wall = wall_clock(args)
  S.now = slew(S.wall, wall, now)
  return true
end

-- Writes back what has changed, and packs the answer.
local function finish_step(answer)
  Requests.flush()
  Locks.flush()
  Sessions.flush()
  call('SET', S.tag .. 'm', struct.pack(META, S.epoch, S.wall, S.now, S.token, S.arrival,
    S.revision, S.commit, S.next_due, S.watched, S.held, S.waiting, S.open, S.search_due, S.swept,
    S.recovering))
  return cmsgpack.pack({ S.now, S.token, S.revision, S.commit, S.held, S.waiting, S.open, S.tally,
    answer })
end
