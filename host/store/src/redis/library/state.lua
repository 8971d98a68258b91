-- Values, and commits that change them.
--
--   v:COLLECTION    key -> version (8 bytes) and value
--   vn:COLLECTION   key -> version, so that a check reads no values
--   k:COLLECTION    the keys, in order
--   c               collection -> the number of the last commit that wrote to it
--   o               commit -> its number, or 0 if it was given up
--   oo              the same commits, by when they were minted

local function version(collection, name)
  return tonumber(call('HGET', key('vn:') .. collection, name) or 0)
end

local function change(collection)
  return tonumber(call('HGET', key('c'), collection) or 0)
end

-- Outcomes of commits ---------------------------------------------------------

-- Whether the store may have forgotten what became of a commit.
local function is_forgotten(minted)
  return minted + MEMORY < S.now or minted <= S.swept
end

local function commit_id(minted, random)
  return struct.pack('>I8', minted) .. random
end

local function outcome(minted, random)
  return tonumber(call('HGET', key('o'), commit_id(minted, random)) or nil)
end

-- Records an outcome, and sweeps what need not be known any more: two at most for
-- each that is added, which is bounded and keeps up.
local function record(minted, random, number)
  local id = commit_id(minted, random)
  call('HSET', key('o'), id, number)
  call('ZADD', key('oo'), minted, id)
  for _ = 1, 2 do
    local oldest = call('ZRANGE', key('oo'), 0, 0, 'WITHSCORES')
    if not oldest[1] then
      return
    end
    local at = tonumber(oldest[2])
    local has_room = call('ZCARD', key('oo')) <= S.limits.records
    if is_forgotten(at) or not has_room then
      if not is_forgotten(at) then
        S.swept = at
      end
      call('ZREM', key('oo'), oldest[1])
      call('HDEL', key('o'), oldest[1])
    end
  end
end

-- What became of a commit. If nothing did, it is given up now.
function State.resolve(minted, random)
  if is_forgotten(minted) then
    return { 'forgotten' }
  end
  local number = outcome(minted, random)
  if not number then
    record(minted, random, 0)
    number = 0
  end
  return number > 0 and { 'committed', number } or { 'aborted' }
end

-- Commits -----------------------------------------------------------------------

-- The token of who has held a lock for the longest; 0 if nobody holds it.
local function current_token(name)
  local lock = Locks.get(name)
  local holder = lock and Locks.first_holder(lock)
  return holder and holder.token or 0
end

-- Of a lost grant's names, the one that somebody else has by now tells most.
local function fenced(names)
  for _, name in ipairs(names) do
    local token = current_token(name)
    if token > 0 then
      return { 'fenced', name, token }
    end
  end
  return names[1] and { 'fenced', names[1], 0 } or { 'aborted' }
end

-- Every grant the transaction relies on is still its own.
local function check_guards(life, guards)
  for _, guard in ipairs(guards) do
    local request = Requests.get(guard[1])
    local is_held = request and request.life == life and Requests.is_held(request)
      and not (request.due and request.due <= S.now)
    if not is_held then
      return fenced(guard[2])
    end
  end
end

-- Everything that was read is as it was.
local function check_versions(reads, ranges)
  for _, read in ipairs(reads) do
    if version(read[1], read[2]) ~= read[3] then
      return { 'conflict', read[1], read[2] }
    end
  end
  for _, range in ipairs(ranges) do
    if change(range[1]) ~= range[2] then
      return { 'conflict', range[1], '*' }
    end
  end
end

-- The lock by which requests that conflicted over a key take turns; over what was
-- listed of a collection, without one. See `LockName::turn`.
local function turn(collection, name)
  return '\1turn\1' .. collection .. (name and '\1' .. name or '')
end

-- Nobody else has a turn at what is written: whoever lost a race for it before
-- comes first now.
local function check_turns(life, writes)
  local turns = {}
  for _, write in ipairs(writes) do
    turns[#turns + 1] = turn(write[1], write[2])
    turns[#turns + 1] = turn(write[1])
  end
  Locks.fetch(turns)
  for at, name in ipairs(turns) do
    local lock = Locks.get(name)
    if lock and lock.holders > 0 and not Locks.own(lock, life) then
      local write = writes[math.ceil(at / 2)]
      return { 'conflict', write[1], at % 2 == 1 and write[2] or '*' }
    end
  end
end

-- The lock of a guarded write is held by the transaction; or the key is new, is
-- known to be so, and nobody has or awaits the lock.
local function is_covered(life, write)
  local collection, name, _, guard, absence_read = unpack(write)
  local lock = Locks.get(guard)
  if Locks.is_idle(lock) then
    return absence_read and version(collection, name) == 0
  end
  return lock.mode == EXCLUSIVE and Locks.own(lock, life) ~= nil
end

local function check(life, guards, reads, ranges, writes)
  local refusal = check_guards(life, guards) or check_versions(reads, ranges)
    or check_turns(life, writes)
  if refusal then
    return refusal
  end
  for _, write in ipairs(writes) do
    if write[4] and not is_covered(life, write) then
      return { 'unguarded', write[4] }
    end
  end
end

local function apply(write, number)
  local collection, name, value = write[1], write[2], write[3]
  call('HSET', key('c'), collection, number)
  if value then
    call('HSET', key('v:') .. collection, name, struct.pack('>I8', number) .. value)
    call('HSET', key('vn:') .. collection, name, number)
    call('ZADD', key('k:') .. collection, 0, name)
  else
    call('HDEL', key('v:') .. collection, name)
    call('HDEL', key('vn:') .. collection, name)
    call('ZREM', key('k:') .. collection, name)
  end
end

-- Applies a transaction, or refuses it and changes nothing.
function State.commit(minted, random, life, guards, reads, ranges, writes)
  if is_forgotten(minted) then
    return { 'too-old' }
  end
  local number = outcome(minted, random)
  if number then
    return number > 0 and { 'committed', number } or { 'aborted' }
  end
  local refusal = check(life, guards, reads, ranges, writes)
  if refusal then
    if refusal[1] == 'fenced' or refusal[1] == 'unguarded' then
      Tell.count(refusal[1])
    end
    return refusal
  end
  S.commit = S.commit + 1
  for _, write in ipairs(writes) do
    apply(write, S.commit)
  end
  record(minted, random, S.commit)
  Ends.transaction(life)
  return { 'committed', S.commit }
end

-- Whether everything that was read is as it was.
function State.validate(reads, ranges)
  return check_versions(reads, ranges) or { 'current' }
end

-- A page of a collection: from `from` on, up to but without `to` (false: to the
-- end), and how much of it at most. Answers whether there is more, the
-- collection's change number, and keys with versions and values.
function State.list(collection, from, to, is_descending, limit, bytes_max)
  local low, high = '[' .. from, to and '(' .. to or '+'
  local keys
  if is_descending then
    keys = call('ZRANGE', key('k:') .. collection, high, low, 'BYLEX', 'REV', 'LIMIT', 0, limit + 1)
  else
    keys = call('ZRANGE', key('k:') .. collection, low, high, 'BYLEX', 'LIMIT', 0, limit + 1)
  end
  local entries, bytes = {}, 0
  for at, name in ipairs(keys) do
    local value = at <= limit and call('HGET', key('v:') .. collection, name)
    bytes = bytes + #name + (value and #value - 8 or 0)
    if not value or at > 1 and bytes > bytes_max then
      return { 'page', true, change(collection), entries }
    end
    table.insert(entries, name)
    table.insert(entries, value)
  end
  return { 'page', false, change(collection), entries }
end
