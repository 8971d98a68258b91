//! How much memory and how many table elements one instance may have.

use crate::spec::Limits;
use wasmtime::ResourceLimiter;

/// Core instances in one instance of a component. Those that `wasm-tools`
/// makes have 3 to 5: the program, an adapter, and small ones that tie them.
pub(crate) const CORE_INSTANCES_MAX: u32 = 32;
/// Linear memories in one instance of a component.
pub(crate) const MEMORIES_MAX: u32 = 8;
/// Tables in one instance of a component.
pub(crate) const TABLES_MAX: u32 = 32;
/// Elements in one table: what the pooling allocator makes room for.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 20_000;

/// Counts what an instance has, over all its memories and tables, and refuses
/// to let it grow beyond its component's limits. A refused guest sees its
/// `memory.grow` or `table.grow` fail, and may go on without.
pub(crate) struct Meter {
    memory: Gauge,
    elements: Gauge,
}

/// One quantity that may only grow to a limit.
struct Gauge {
    used: usize,
    max: usize,
    /// What was granted last; it is taken back if the growth fails after all.
    last: usize,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            memory: Gauge::new(usize::try_from(limits.memory).unwrap_or(usize::MAX)),
            elements: Gauge::new(limits.table_elements),
        }
    }
}

impl Gauge {
    fn new(max: usize) -> Self {
        Self {
            used: 0,
            max,
            last: 0,
        }
    }

    /// Whether it may grow from `current` to `desired`.
    fn grow(&mut self, current: usize, desired: usize) -> bool {
        self.last = 0;
        let more = desired.saturating_sub(current);
        let used = self.used.saturating_add(more);
        if used > self.max {
            return false;
        }
        self.used = used;
        self.last = more;
        true
    }

    fn take_back(&mut self) {
        self.used -= std::mem::take(&mut self.last);
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.memory.grow(current, desired))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.take_back();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.elements.grow(current, desired))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.elements.take_back();
        Ok(())
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter() -> Meter {
        Meter::new(&Limits {
            memory: 100,
            table_elements: 10,
            ..Limits::default()
        })
    }

    #[test]
    fn several_memories_share_one_limit() {
        let mut meter = meter();
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(!meter.memory_growing(0, 41, None).unwrap());
        assert!(meter.memory_growing(0, 30, None).unwrap());
        assert!(meter.memory_growing(30, 40, None).unwrap());
        assert!(!meter.memory_growing(60, 61, None).unwrap());
    }

    #[test]
    fn several_tables_share_one_limit() {
        let mut meter = meter();
        assert!(meter.table_growing(0, 10, None).unwrap());
        assert!(!meter.table_growing(0, 1, None).unwrap());
    }

    #[test]
    fn what_was_granted_is_taken_back_if_the_growth_fails_and_only_then() {
        let mut meter = meter();
        assert!(meter.memory_growing(0, 100, None).unwrap());
        meter
            .memory_grow_failed(wasmtime::Error::msg("no memory"))
            .unwrap();
        assert!(meter.memory_growing(0, 60, None).unwrap());
        // A refusal is reported as a failure too; nothing was granted then.
        assert!(!meter.memory_growing(60, 200, None).unwrap());
        meter
            .memory_grow_failed(wasmtime::Error::msg("refused"))
            .unwrap();
        assert!(!meter.memory_growing(60, 101, None).unwrap());
    }
}
