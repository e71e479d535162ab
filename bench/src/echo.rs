//! The limit: lines are read and written back, all those at once that came at once, and nothing is done about them.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::Result;

const BACKLOG: u32 = 4096;
/// Bytes read at once; a line that is longer ends its connection.
const BUFFER: usize = 16 << 10;

/// Serves until the process is ended. Prints `listening on ADDRESS` when it accepts.
pub fn serve(address: SocketAddr) -> Result {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start the runtime: {error}"))?;
    runtime.block_on(accept(address)).map_err(|error| format!("cannot serve on {address}: {error}"))
}

async fn accept(address: SocketAddr) -> io::Result<()> {
    let listener = listen(address)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        // An error of one client's is the end of that client.
        tokio::spawn(echo(socket));
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn echo(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    let mut filled = 0;
    while filled < BUFFER {
        let count = socket.read(&mut buffer[filled..]).await?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let Some(end) = buffer[..filled].iter().rposition(|byte| *byte == b'\n').map(|at| at + 1) else { continue };
        socket.write_all(&buffer[..end]).await?;
        buffer.copy_within(end..filled, 0);
        filled -= end;
    }
    Ok(())
}
