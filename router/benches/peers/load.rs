//! The generator: questions in batches as fast as they are answered, or one by one at a rate.

use std::{
    io::{IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

/// Messages per system call.
const BATCH: usize = 32;
/// Questions without an answer yet; they fit into a socket's buffer.
const UNDER_WAY: usize = 128;

/// Whether a server answers `question` well.
pub(crate) fn is_answered(server: SocketAddr, question: &[u8]) -> bool {
    let socket = connected(server);
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
    let mut answer = [0; 2048];
    socket.send(question).is_ok() && socket.recv(&mut answer).is_ok_and(|len| is_good(answer.get(..len)))
}

/// Keeps questions under way for `span`, and returns how many were answered.
pub(crate) fn saturate(server: SocketAddr, questions: &[Vec<u8>], span: Duration) -> u64 {
    let socket = connected(server);
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket");
    let mut buffers = vec![[0u8; 2048]; BATCH];
    let mut incoming: MultiHeaders<SockaddrIn> = MultiHeaders::preallocate(BATCH, None);
    let mut outgoing: MultiHeaders<SockaddrIn> = MultiHeaders::preallocate(BATCH, None);
    let addresses = [None; BATCH];
    let no_control: [ControlMessage<'_>; 0] = [];
    let mut to_send = questions.iter().cycle();
    let (mut answered, mut under_way) = (0, 0);
    let until = Instant::now() + span;
    while Instant::now() < until {
        while under_way + BATCH <= UNDER_WAY {
            let slices: Vec<[IoSlice<'_>; 1]> =
                to_send.by_ref().take(BATCH).map(|question| [IoSlice::new(question)]).collect();
            let sent = sendmmsg(socket.as_raw_fd(), &mut outgoing, &slices, addresses, no_control, MsgFlags::empty());
            under_way += sent.map_or(0, Iterator::count);
        }
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let received = recvmmsg(socket.as_raw_fd(), &mut incoming, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None);
        let lengths: Vec<usize> = received.map(|all| all.map(|one| one.bytes).collect()).unwrap_or_default();
        if lengths.is_empty() {
            // They are lost, every one.
            under_way = 0;
        }
        under_way -= lengths.len().min(under_way);
        for (len, buffer) in lengths.into_iter().zip(&buffers) {
            assert!(is_good(buffer.get(..len)), "not an answer: {:?}", buffer.get(..len));
            answered += 1;
        }
    }
    answered
}

/// The median time to an answer, at `rate_per_s` evenly spaced questions.
pub(crate) fn p50(server: SocketAddr, questions: &[Vec<u8>], rate_per_s: u32, span: Duration) -> Duration {
    let socket = connected(server);
    socket.set_nonblocking(true).expect("a socket");
    let gap = Duration::from_secs(1) / rate_per_s;
    // Each question has its place as its id.
    let mut sent_at: Vec<Option<Instant>> = vec![None; questions.len()];
    let (mut times, mut buffer) = (vec![], [0; 2048]);
    let mut to_send = questions.iter().enumerate().cycle();
    let began = Instant::now();
    let mut due = began;
    while due < began + span {
        let now = Instant::now();
        if now >= due
            && let Some((at, question)) = to_send.next()
            && socket.send(question).is_ok()
        {
            sent_at[at] = Some(now);
            // A gap in which this process did not run must not become a burst.
            due = if now > due + gap * 16 { now } else { due + gap };
        }
        if let Ok(len) = socket.recv(&mut buffer) {
            assert!(is_good(buffer.get(..len)), "not an answer: {:?}", buffer.get(..len));
            let at = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
            times.extend(sent_at.get_mut(at).and_then(Option::take).map(|sent| sent.elapsed()));
        }
    }
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn connected(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect(server).expect("an address");
    socket
}

/// NOERROR with two addresses.
fn is_good(answer: Option<&[u8]>) -> bool {
    matches!(answer, Some([_, _, _, flags, _, _, 0, 2, ..]) if flags & 0xf == 0)
}
