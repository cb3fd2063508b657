//! The two calls of etcd's v3 API that are measured, by hand: a message of two byte strings each way that matters.

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{Method, Request, Version};
use tokio::net::TcpStream;

/// A call that was not answered as it should be.
pub type Error = Box<dyn std::error::Error>;

/// A connection to one member; clones share it.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Bytes>,
    authority: String,
}

impl Connection {
    /// Connects; the connection is driven by a task of its own.
    pub async fn open(endpoint: &str) -> Result<Connection, Error> {
        let stream = TcpStream::connect(endpoint).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(16 << 20)
            .handshake(stream)
            .await?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                eprintln!("connection ended: {error}");
            }
        });
        Ok(Connection { sender, authority: endpoint.to_owned() })
    }

    /// `KV.Put`.
    pub async fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let mut message = BytesMut::with_capacity(16 + key.len() + value.len());
        field(&mut message, 1, key);
        field(&mut message, 2, value);
        self.call("/etcdserverpb.KV/Put", &message).await.map(drop)
    }

    /// `KV.Range` of one key, linearizable, which is its default. Whether it was there.
    pub async fn get(&self, key: &[u8]) -> Result<bool, Error> {
        let mut message = BytesMut::with_capacity(16 + key.len());
        field(&mut message, 1, key);
        let answer = self.call("/etcdserverpb.KV/Range", &message).await?;
        Ok(find(&answer, 2).is_some())
    }

    /// `Maintenance.Status`: whether this member leads.
    pub async fn leads(&self) -> Result<bool, Error> {
        let answer = self.call("/etcdserverpb.Maintenance/Status", &[]).await?;
        let header = find(&answer, 1).map(|(_, header)| header).unwrap_or_default();
        let member = find(header, 2).map(|(number, _)| number);
        Ok(member.is_some() && member == find(&answer, 4).map(|(number, _)| number))
    }

    async fn call(&self, path: &str, message: &[u8]) -> Result<BytesMut, Error> {
        let request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(format!("http://{}{path}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut framed = BytesMut::with_capacity(5 + message.len());
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len())?);
        framed.put_slice(message);
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(request, false)?;
        stream.send_data(framed.freeze(), true)?;
        let response = response.await?;
        let at_once = response.headers().get("grpc-status").cloned();
        let mut body = response.into_body();
        let mut answer = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            answer.extend_from_slice(&data);
        }
        let trailers = body.trailers().await?;
        let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status").cloned()).or(at_once);
        if status.as_ref().is_none_or(|status| status != "0") || answer.len() < 5 {
            return Err(format!("{path}: status {status:?}").into());
        }
        Ok(answer.split_off(5))
    }
}

/// A length-delimited field of a protocol buffer.
fn field(message: &mut BytesMut, number: u8, bytes: &[u8]) {
    message.put_u8(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        message.put_u8(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    message.put_u8(u8::try_from(length).expect("seven bits"));
    message.put_slice(bytes);
}

/// The first field of this number at the top of a message: its number, and its bytes where it has some.
fn find(mut message: &[u8], number: u8) -> Option<(u64, &[u8])> {
    while let Some((&tag, rest)) = message.split_first() {
        let (value, rest) = varint(rest);
        let length = if tag & 7 == 2 { usize::try_from(value).ok()? } else { 0 };
        let bytes = rest.get(..length)?;
        if tag >> 3 == number {
            return Some((value, bytes));
        }
        message = &rest[length..];
    }
    None
}

fn varint(bytes: &[u8]) -> (u64, &[u8]) {
    let mut value = 0;
    for (at, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return (value, &bytes[at + 1..]);
        }
    }
    (value, &[])
}
