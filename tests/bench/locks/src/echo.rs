//! `locks echo`: a bare tonic server, the limit of what gRPC can do here.

use anyhow::Result;
use futures_util::{Stream, StreamExt};
use std::pin::Pin;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// The generated messages and service.
pub mod proto {
    tonic::include_proto!("echo");
}

use proto::Message;
use proto::echo_server::{Echo, EchoServer};

/// Serves on `address` until the process ends, with tonic's own settings.
pub async fn serve(address: &str) -> Result<()> {
    let listener = TcpListener::bind(address).await?;
    let connections = TcpListenerStream::new(listener).map(|connection| {
        // What the server does too, and what tonic does when it binds itself.
        connection.and_then(|stream| stream.set_nodelay(true).map(|()| stream))
    });
    tonic::transport::Server::builder()
        .add_service(EchoServer::new(Answers))
        .serve_with_incoming(connections)
        .await?;
    Ok(())
}

struct Answers;

#[tonic::async_trait]
impl Echo for Answers {
    async fn unary(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<Message>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Ok(Response::new(Box::pin(request.into_inner())))
    }
}
