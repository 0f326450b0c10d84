//! DNS over UDP: an OS thread per socket that receives and sends in batches.
//!
//! Not on tokio, which costs three to four times the p99 here. A worker loads the current snapshot once per batch,
//! takes no lock and, on the usual path, allocates nothing per message.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, UdpSocket},
    os::fd::AsRawFd as _,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use arc_swap::Cache;
use cdn_core::Counter;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use tokio_util::sync::CancellationToken;

use crate::{control::Control, exchange::Transport, respond::Responder};

/// Messages per system call. From 16 on the gain is small; 32 buffers are 64 KiB.
const BATCH: usize = 32;

/// Questions are short; a longer datagram is cut and will be malformed.
const MESSAGE_BYTES_MAX: usize = 2048;

/// How often an idle worker looks whether it should stop.
const STOP_INTERVAL: Duration = Duration::from_millis(100);

/// Starts one of `workers` on `socket`. It ends soon after `stop`.
pub(crate) fn spawn(
    control: Arc<Control>,
    socket: UdpSocket,
    workers: usize,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(STOP_INTERVAL))?;
    // A client that takes nothing must not hold up the others for long.
    socket.set_write_timeout(Some(STOP_INTERVAL))?;
    thread::Builder::new()
        .name("dns".into())
        .stack_size(256 * 1024)
        .spawn(move || run(&control, &socket, workers, &stop))
}

fn run(control: &Arc<Control>, socket: &UdpSocket, workers: usize, stop: &CancellationToken) {
    let mut published = Cache::new(control.published_swap());
    let mut responder = Responder::limited(Arc::clone(control), workers);
    let mut buffers = vec![[0u8; MESSAGE_BYTES_MAX]; BATCH];
    let mut answers: Vec<(Vec<u8>, Option<SockaddrStorage>)> = vec![(Vec::with_capacity(512), None); BATCH];
    let mut incoming: MultiHeaders<SockaddrStorage> = MultiHeaders::preallocate(BATCH, None);
    let mut outgoing: MultiHeaders<SockaddrStorage> = MultiHeaders::preallocate(BATCH, None);
    while !stop.is_cancelled() {
        let received = receive(socket, &mut incoming, &mut buffers);
        let count = received.len();
        // Also where nobody asks, or an idle worker would keep the snapshot before, with all its networks.
        let published = published.load();
        if count == 0 {
            continue;
        }
        let mut filled = 0;
        for (&(len, from), buffer) in received.iter().zip(&buffers) {
            let Some((out, to)) = answers.get_mut(filled) else { break };
            let (Some(from), Some(message)) = (from, buffer.get(..len)) else { continue };
            let Some(peer) = ip_of(&from) else { continue };
            if responder.handle_message(published, message, peer, Transport::Udp, out) {
                *to = Some(from);
                filled += 1;
            }
        }
        send(control, socket, &mut outgoing, answers.get(..filled).unwrap_or_default());
    }
}

/// Length and sender of each message of a batch; empty when none came in time.
fn receive(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<SockaddrStorage>,
    buffers: &mut [[u8; MESSAGE_BYTES_MAX]],
) -> Vec<(usize, Option<SockaddrStorage>)> {
    let mut slices: Vec<[IoSliceMut<'_>; 1]> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
    match recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None) {
        Ok(messages) => messages.map(|message| (message.bytes, message.address)).collect(),
        // Nothing came in time, a signal, or news of an earlier answer that did not arrive (ICMP): all the same here.
        Err(_) => vec![],
    }
}

fn send(
    control: &Control,
    socket: &UdpSocket,
    headers: &mut MultiHeaders<SockaddrStorage>,
    mut answers: &[(Vec<u8>, Option<SockaddrStorage>)],
) {
    while !answers.is_empty() {
        let slices: Vec<[IoSlice<'_>; 1]> = answers.iter().map(|(answer, _)| [IoSlice::new(answer)]).collect();
        let addresses: Vec<Option<SockaddrStorage>> = answers.iter().map(|(_, to)| *to).collect();
        let no_control: [ControlMessage<'_>; 0] = [];
        let sent = sendmmsg(socket.as_raw_fd(), headers, slices.iter(), &addresses, no_control, MsgFlags::empty());
        let sent = sent.map_or(0, Iterator::count);
        if sent == 0 {
            // The first one was refused, be it for its address or for want of room; the others have their chance.
            control.counters.bump(Counter::RouterDnsSendErrors);
        }
        answers = answers.get(sent.max(1)..).unwrap_or_default();
    }
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}
