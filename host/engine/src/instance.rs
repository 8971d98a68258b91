//! One instance of a component, and what it keeps from request to request.

use crate::call::Incoming;
use crate::calls::{Hooks, broken};
use crate::component::Context;
use crate::failure::Failure;
use crate::head::Head;
use crate::imports;
use crate::limits::Meter;
use crate::output::Output;
use crate::printer::Printer;
use crate::spec::Spec;
use http_body_util::BodyExt;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingRequest, HostIncomingResponse, HostResponseOutparam,
};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// Bytes of arguments that one call of a guest to the host may copy. More
/// traps. Above the largest value a transaction takes, so that a guest that
/// exceeds that one is told so.
const HOSTCALL_BYTES_MAX: usize = 4 << 20;

/// Bytes that one call for randomness may ask for. More traps.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// Roughly the bytes of the header fields of one message. More traps.
const FIELDS_BYTES_MAX: usize = 64 << 10;

/// How many ticks of the engine's clock a guest runs before it yields.
const TICKS: u64 = 1;

/// Where a request without an authority was sent to, as guests see it.
const AUTHORITY_DEFAULT: http::HeaderValue = http::HeaderValue::from_static("localhost");

/// One instance of a component: serves one request at a time.
///
/// Dropping it ends whatever it does.
pub(crate) struct Instance {
    store: Store<State>,
    proxy: Proxy,
    uses: u32,
    /// How many resources were alive after its first request.
    settled: Option<usize>,
    /// Held as long as it exists. Dropped last.
    _slot: OwnedSemaphorePermit,
}

/// What the imports of an instance work on.
pub(crate) struct State {
    pub(crate) table: ResourceTable,
    pub(crate) spec: Arc<Spec>,
    pub(crate) hooks: Hooks,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    meter: Meter,
    head: Arc<Head>,
    output: Arc<Output>,
}

impl Instance {
    /// Instantiates the component. Runs its start functions, which see no
    /// request: whatever they ask of locks and state is `closed`.
    pub(crate) async fn new(
        pre: ProxyPre<State>,
        spec: Arc<Spec>,
        printer: Arc<Printer>,
        slot: OwnedSemaphorePermit,
    ) -> Result<Box<Self>, Failure> {
        let handles = spec.limits.handles;
        let mut store = Store::new(pre.engine(), State::new(spec, printer));
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        store.set_max_component_handles(handles);
        store.set_epoch_deadline(TICKS);
        // Not `Yield`: that wakes the task into the slot of its worker that
        // runs first, and the neighbours would starve.
        store.epoch_deadline_callback(|_| {
            let others = Box::pin(tokio::task::yield_now());
            Ok(UpdateDeadline::YieldCustom(TICKS, others))
        });
        let proxy = pre
            .instantiate_async(&mut store)
            .await
            .map_err(|error| Failure::of(&error))?;
        Ok(Box::new(Self {
            store,
            proxy,
            uses: 0,
            settled: None,
            _slot: slot,
        }))
    }

    /// Where the head of the response will be.
    pub(crate) fn head(&self) -> &Arc<Head> {
        &self.store.data().head
    }

    /// Calls the handler. Once it sets its response, the request's scope is
    /// sealed and the head can be taken.
    pub(crate) async fn handle(&mut self, incoming: Incoming) -> Result<(), Failure> {
        let Incoming { request, context } = incoming;
        self.uses += 1;
        // The deadline has aged while the instance was idle.
        self.store.set_epoch_deadline(TICKS);
        let state = self.store.data_mut();
        let (request, response) = state
            .begin(request, context)
            .map_err(|error| Failure::Host(format!("{error:#}")))?;
        self.proxy
            .wasi_http_incoming_handler()
            .call_handle(&mut self.store, request, response)
            .await
            .map_err(|error| Failure::of(&error))
    }

    /// Ends the request: from now on what it left in the instance is dead.
    /// Whether the instance is fit for another one.
    pub(crate) fn settle(&mut self) -> bool {
        let state = self.store.data_mut();
        state.hooks.context = None;
        state.output.end();
        let mut alive = 0;
        let mut busy = false;
        for entry in state.table.iter_mut() {
            alive += 1;
            imports::end(entry);
            if let Some(body) = entry.downcast_mut::<HostOutgoingBody>() {
                break_off(body);
                busy = true;
            }
            // A call that still goes on would reach into the next request, and
            // so would a place for a response that was not used.
            busy |= entry.is::<HostFutureIncomingResponse>()
                || entry.is::<HostIncomingResponse>()
                || entry.is::<HostResponseOutparam>();
        }
        let settled = *self.settled.get_or_insert(alive);
        !busy && alive <= settled && self.uses < state.spec.reuse.uses()
    }
}

impl State {
    fn new(spec: Arc<Spec>, printer: Arc<Printer>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(spec.limits.handles);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_BYTES_MAX);
        let head = Arc::new(Head::default());
        let output = Arc::new(Output::new(printer));
        Self {
            table,
            hooks: Hooks::new(head.clone()),
            wasi: confined(&output),
            http,
            meter: Meter::new(&spec.limits),
            head,
            output,
            spec,
        }
    }

    /// The request that is being handled, if one is.
    pub(crate) fn context(&self) -> Option<&Context> {
        self.hooks.context.as_ref()
    }

    /// Takes a request in and makes the two handles its handler is called
    /// with.
    fn begin(
        &mut self,
        mut request: http::Request<crate::Body>,
        context: Context,
    ) -> wasmtime::Result<(
        Resource<HostIncomingRequest>,
        Resource<HostResponseOutparam>,
    )> {
        give_authority(&mut request);
        let scheme = match request.uri().scheme_str() {
            Some("https") => Scheme::Https,
            _ => Scheme::Http,
        };
        let request = request.map(|body| body.map_err(broken));
        self.output.begin(context.id.clone());
        let number = self.head.begin();
        let head = self.head.clone();
        let scope = context.scope.clone();
        self.hooks.context = Some(context);
        let mut http = self.http();
        let request = http.new_incoming_request(scheme, request)?;
        let response = http.new_response_outparam_from_callback(move |response| {
            // First, so that nothing can be staged once anybody knows.
            scope.seal();
            head.put(number, response);
        })?;
        Ok((request, response))
    }
}

/// Ends a body that its handler forgot with an error. If it were only dropped,
/// with its instance, it would seem to end well.
fn break_off(body: &mut HostOutgoingBody) {
    let (nothing, _) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
    std::mem::replace(body, nothing).abort();
}

/// WASI with nothing behind it but clocks, randomness and the log.
fn confined(output: &Arc<Output>) -> WasiCtx {
    WasiCtx::builder()
        .stdout(output.stdout())
        .stderr(output.stderr())
        .max_random_size(RANDOM_BYTES_MAX)
        .allow_ip_name_lookup(false)
        .allow_tcp(false)
        .allow_udp(false)
        .socket_addr_check(|_, _| Box::pin(async { false }))
        .build()
}

/// wasi:http wants to know where a request was sent to; HTTP/1.0 clients may
/// not say, and a `Host` header may be no text.
fn give_authority(request: &mut http::Request<crate::Body>) {
    if request.uri().authority().is_some() {
        return;
    }
    let host = request.headers().get(http::header::HOST);
    if host.is_none_or(|host| host.to_str().is_err()) {
        request
            .headers_mut()
            .insert(http::header::HOST, AUTHORITY_DEFAULT);
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}
