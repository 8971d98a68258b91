-- Requests that belong together: those of a transaction or a session, which end
-- with it, and those of a named owner, whose waits are looked at together.
--
-- A group is { key, prefix, owner }: its members are those of a sorted set that
-- begin with the prefix, in the order they arrived, and `owner` tells it from all
-- others. The transactions of a node share one set, so that all there is to a
-- node that dies is in one place.
--
--   member: prefix, arrival, id

function Groups.of_life(life)
  local kind = string.sub(life, 1, 1)
  if kind == 's' then
    return { key = key('g:') .. life, prefix = '', owner = life }
  elseif kind == 't' then
    return { key = key('t:') .. string.sub(life, 2, 17), prefix = string.sub(life, 18), owner = life }
  end
end

function Groups.of_owner(request)
  if request.owner then
    local owner = 'o' .. #request.principal .. ':' .. request.principal .. request.owner
    return { key = key('g:') .. owner, prefix = '', owner = owner }
  end
end

local NONE = {}

-- The groups a request is in: that on whose life it hangs, that of the owner it
-- names.
function Groups.of(request)
  if request.kind == '' and not request.owner then
    return NONE
  end
  local groups = {}
  groups[1] = Groups.of_life(request.life)
  groups[#groups + 1] = Groups.of_owner(request)
  return groups
end

-- The group whose waits are looked at together with those of a request; nil if
-- it is its own.
function Groups.of_waits(request)
  return Groups.of_owner(request) or Groups.of_life(request.life)
end

-- What tells a request's owner from all others.
function Groups.owner_of(request)
  local group = Groups.of_waits(request)
  return group and group.owner or 'r' .. request.arrival
end

local function member(group, request)
  return group.prefix .. sortable(request.arrival) .. request.id
end

local function range(group, after)
  local from = after and '(' .. group.prefix .. sortable(after) .. string.rep('\255', 16)
    or '[' .. group.prefix
  return from, '(' .. group.prefix .. string.rep('\255', 23)
end

-- The ids of its members, in the order they arrived; those behind an arrival,
-- and so many at most, if that is said.
function Groups.members(group, after, most)
  local from, to = range(group, after)
  local members = call('ZRANGE', group.key, from, to, 'BYLEX', 'LIMIT', 0, most or -1)
  for at, text in ipairs(members) do
    members[at] = string.sub(text, -16)
  end
  return members
end

function Groups.count(group)
  if group.prefix == '' then
    return call('ZCARD', group.key)
  end
  local from, to = range(group)
  return call('ZLEXCOUNT', group.key, from, to)
end

-- A group has come to have two requests, or is about to have one again, by
-- `this`: that changes whether the other is entangled.
local function entangle_other(group, this, does)
  if Groups.count(group) ~= 2 then
    return
  end
  for _, id in ipairs(Groups.members(group)) do
    local other = id ~= this.id and Requests.get(id)
    if other and #other.locks == 1 and not Requests.is_held(other)
      and Groups.owner_of(other) == group.owner then
      Queues.entangle(Locks.get(other.locks[1]), other, does)
    end
  end
end

function Groups.join(group, request)
  call('ZADD', group.key, 0, member(group, request))
  entangle_other(group, request, true)
end

function Groups.leave(group, request)
  entangle_other(group, request, false)
  call('ZREM', group.key, member(group, request))
end

-- Whether a request may lead from one queue to another: its owner has others,
-- or it waits for several locks.
function Groups.is_entangled(request)
  if #request.locks > 1 then
    return true
  end
  local group = Groups.of_waits(request)
  return group ~= nil and Groups.count(group) > 1
end
