//! The client's connection: the reply, the lines that follow, who is there.

use std::sync::Arc;

use super::View;
use super::bindings::wasmline::command::connection::{Error, Host};
use crate::line::Line;
use crate::sandbox::Stop;
use crate::wire::{Gone, Input, OutputLimit, PIECE, Wire};

/// Appends to the reply, piece by piece as the client takes it.
pub async fn write(wire: &Wire, limit: u64, bytes: &[u8]) -> Result<(), Stop> {
    for piece in bytes.chunks(PIECE) {
        if wire.write(piece).map_err(|OutputLimit| Stop::Output(limit))? {
            wire.below_high_water().await?;
        }
    }
    Ok(())
}

/// Takes the client's next line.
async fn read_line(wire: &Arc<Wire>) -> Result<Result<Option<String>, Error>, Gone> {
    if wire.is_closing() {
        return Ok(Err(Error::Closed));
    }
    Ok(match wire.next_line().await? {
        Input::Line(Line::Text(line)) => Ok(Some(line)),
        Input::Line(Line::BadEncoding(_)) => Err(Error::BadEncoding),
        // The session finds the same when it asks, and ends the connection.
        Input::Line(Line::TooLong) => Err(Error::LineTooLong),
        // A client that is silent for too long has ended as far as the command is concerned.
        Input::End { .. } | Input::Idle | Input::Slow => Ok(None),
    })
}

impl Host for View<'_> {
    async fn write(&mut self, bytes: Vec<u8>) -> wasmtime::Result<Result<(), Error>> {
        if self.call.wire.is_closing() {
            return Ok(Err(Error::Closed));
        }
        write(&self.call.wire, self.call.tenant().limits.output, &bytes).await?;
        Ok(Ok(()))
    }

    async fn read_line(&mut self) -> wasmtime::Result<Result<Option<String>, Error>> {
        Ok(read_line(&self.call.wire).await.map_err(Stop::Gone)?)
    }

    fn peer(&mut self) -> wasmtime::Result<String> {
        Ok(self.call.wire.peer().to_string())
    }

    fn tenant(&mut self) -> wasmtime::Result<String> {
        Ok(self.call.tenant().name.clone())
    }

    fn close(&mut self) -> wasmtime::Result<()> {
        self.call.wire.close();
        Ok(())
    }
}
