//! A connection that the proxy accepted, and what stands on its far side.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use mio::net::TcpStream;
use nix::sys::socket::{setsockopt, sockopt};

use super::net::{Net, ways_of};
use super::pipe::Pipe;
use super::pump::{Flow, Pump};
use super::switch::Route;

/// A dialler and its far side.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) route: Route,
    near: TcpStream,
    pub(super) far: Far,
    up: Carrier,
    down: Carrier,
}

/// What moves the bytes of one direction.
#[derive(Debug)]
enum Carrier {
    /// Bytes as they come.
    Plain(Pump),
    /// Whole frames, each with a fate.
    Framed(Box<Pipe>),
}

/// What stands on the far side.
#[derive(Debug)]
pub(super) enum Far {
    /// Nothing yet: the link was cut when the dialler came.
    Waiting,
    /// The gate itself, which sends a prober on this port its bytes back.
    Echo(u16),
    /// A socket to the node.
    Node {
        /// The socket.
        stream: TcpStream,
        /// Whether the node has answered.
        answered: bool,
    },
}

/// What becomes of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It waits for readiness.
    Stays,
    /// It has more to do at once.
    Again,
    /// It has come to its end.
    Ends,
}

impl Pair {
    pub(super) fn new(route: Route, near: TcpStream, far: Far, is_framed: bool) -> Pair {
        // Small messages travel at once; a proxy must not add delays of its own.
        let _ = near.set_nodelay(true);
        let [up, down] = ways_of(route).map(|way| match is_framed {
            true => Carrier::Framed(Box::new(Pipe::new(way))),
            false => Carrier::Plain(Pump::default()),
        });
        Pair { route, near, far, up, down }
    }

    /// The sockets to be watched.
    pub(super) fn near(&mut self) -> &mut TcpStream {
        &mut self.near
    }

    /// Begins to dial the node; returns the socket to be watched.
    pub(super) fn dial(&mut self, target: SocketAddr) -> io::Result<&mut TcpStream> {
        let stream = TcpStream::connect(target)?;
        let _ = stream.set_nodelay(true);
        self.far = Far::Node { stream, answered: false };
        match &mut self.far {
            Far::Node { stream, .. } => Ok(stream),
            Far::Waiting | Far::Echo(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// When a frame that waits must go on.
    pub(super) fn due(&self) -> Option<Instant> {
        [&self.up, &self.down].into_iter().filter_map(Carrier::due).min()
    }

    /// Moves what can be moved. At a cut gate frames are lost; bytes that are none must not come here then.
    pub(super) fn advance(&mut self, net: &mut Option<Net>, is_cut: bool) -> Fate {
        match &mut self.far {
            Far::Waiting => Fate::Stays,
            Far::Echo(_) => echo(&mut self.near),
            Far::Node { stream, answered } => {
                if !*answered {
                    match has_answered(stream) {
                        Ok(true) => *answered = true,
                        Ok(false) => return Fate::Stays,
                        Err(_) => {
                            self.refuse();
                            return Fate::Ends;
                        }
                    }
                }
                let up = self.up.run(&mut self.near, stream, net, is_cut);
                let down = self.down.run(stream, &mut self.near, net, is_cut);
                match (up, down) {
                    (Err(_), _) | (_, Err(_)) | (Ok(Flow::Done), Ok(Flow::Done)) => Fate::Ends,
                    (Ok(Flow::HasMore), _) | (_, Ok(Flow::HasMore)) => Fate::Again,
                    (Ok(Flow::Waits | Flow::Done), Ok(Flow::Waits | Flow::Done)) => Fate::Stays,
                }
            }
        }
    }

    /// Ends the dialler's connection with a reset, the nearest that an accepted connection has to a refused one.
    pub(super) fn refuse(&self) {
        let abort = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        let _ = setsockopt(&self.near.as_fd(), sockopt::Linger, &abort);
    }
}

impl Carrier {
    fn due(&self) -> Option<Instant> {
        match self {
            Carrier::Plain(_) => None,
            Carrier::Framed(pipe) => pipe.due(),
        }
    }

    fn run(
        &mut self,
        from: &mut TcpStream,
        to: &mut TcpStream,
        net: &mut Option<Net>,
        is_cut: bool,
    ) -> io::Result<Flow> {
        match (self, net) {
            (Carrier::Framed(pipe), Some(net)) => pipe.run(from, to, net, is_cut),
            (Carrier::Plain(pump), _) => pump.run(from, to),
            (Carrier::Framed(_), None) => unreachable!("only a lab with a network of frames makes pipes"),
        }
    }
}

/// Whether a socket that dials is connected by now.
fn has_answered(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// A probe is so short that it comes and goes in one piece; whatever else happens is the end of the prober.
fn echo(near: &mut TcpStream) -> Fate {
    let mut probe = [0; 64];
    loop {
        match near.read(&mut probe) {
            Ok(0) => return Fate::Ends,
            Ok(count) if near.write_all(&probe[..count]).is_err() => return Fate::Ends,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Fate::Stays,
            Err(_) => return Fate::Ends,
        }
    }
}
