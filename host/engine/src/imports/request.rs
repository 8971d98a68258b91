//! `lockport:host/request`: the request that is being handled.

use super::{to_nanos, wit};
use crate::instance::State;
use wasmtime::Result;
use wit::request::{Duration, Host, Param};

/// Without a request, as in a start function, everything is empty.
impl Host for State {
    fn route(&mut self) -> Result<String> {
        Ok(self
            .context()
            .map_or_else(String::new, |it| it.route.to_string()))
    }

    fn params(&mut self) -> Result<Vec<Param>> {
        let params = self.context().map_or(&[][..], |it| &it.params);
        let params = params.iter().map(|(name, value)| Param {
            name: name.to_string(),
            value: value.clone(),
        });
        Ok(params.collect())
    }

    fn id(&mut self) -> Result<String> {
        Ok(self
            .context()
            .map_or_else(String::new, |it| it.id.to_string()))
    }

    fn principal(&mut self) -> Result<Option<String>> {
        let principal = self.context().and_then(|it| it.principal.as_ref());
        Ok(principal.map(|it| it.to_string()))
    }

    fn deadline(&mut self) -> Result<Duration> {
        Ok(self.context().map_or(0, |it| to_nanos(it.remaining())))
    }
}
