//! The reference of the HTTP benchmark: plain axum, the same 12 bytes.

use axum::Router;
use axum::routing::get;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: reference ADDRESS")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let router = Router::new().route("/hello", get(|| async { "Hello World!" }));
        axum::serve(listener, router).await?;
        Ok(())
    })
}
