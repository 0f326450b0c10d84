//! A process that is asked line by line, and never waited for longer than it may take.

use std::{
    ffi::OsString,
    io::{self, Read as _, Write as _},
    os::{fd::AsFd, unix::process::CommandExt as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::ioctl_fionbio,
    process::{Pid, Signal, kill_process_group},
};

/// Bytes read at once.
const PIECE_BYTES: usize = 4096;

/// Why there is no answer, and will be none from this process.
#[derive(Debug)]
pub(super) enum Failure {
    /// It has closed its stdin or stdout, which is as good as dead; how it ended, if it did.
    Ended(String),
    /// It keeps silent.
    Silent,
    /// Its line has no end.
    Endless,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    read: Vec<u8>,
    answers: u64,
}

impl Process {
    /// Starts it in a process group of its own. What it writes to stderr goes where ours goes.
    pub(super) fn start(command: &[OsString]) -> io::Result<Self> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        // Neither a program that does not read nor one that does not write may keep us.
        ioctl_fionbio(&stdin, true)?;
        ioctl_fionbio(&stdout, true)?;
        Ok(Self { child, stdin, stdout, read: Vec::new(), answers: 0 })
    }

    /// How many lines it has answered with.
    pub(super) const fn answers(&self) -> u64 {
        self.answers
    }

    /// Writes a line and waits for one. Returns it without its end, and whether it came alone: what else was said before or
    /// after is no answer to anything, and is left out.
    pub(super) fn ask(
        &mut self,
        line: &[u8],
        patience: Duration,
        line_bytes_max: usize,
    ) -> Result<(Vec<u8>, bool), Failure> {
        let until = Instant::now() + patience;
        let mut is_alone = self.read.is_empty() && !self.read_some()?;
        self.read.clear();
        let mut unsaid = line;
        loop {
            if !unsaid.is_empty() {
                match self.stdin.write(unsaid) {
                    Ok(written) => unsaid = unsaid.get(written..).unwrap_or_default(),
                    Err(error) if is_for_later(&error) => {}
                    Err(_) => return Err(self.ended()),
                }
            }
            while self.read.len() <= line_bytes_max && self.read_some()? {}
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                let rest = self.read.split_off(end + 1);
                self.read.pop();
                is_alone &= rest.is_empty();
                self.answers += 1;
                return Ok((std::mem::take(&mut self.read), is_alone));
            }
            if self.read.len() > line_bytes_max {
                return Err(Failure::Endless);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::Silent);
            }
            self.wait(left, !unsaid.is_empty());
        }
    }

    /// Reads what is there; whether anything was.
    fn read_some(&mut self) -> Result<bool, Failure> {
        let mut piece = [0; PIECE_BYTES];
        match self.stdout.read(&mut piece) {
            Ok(0) => Err(self.ended()),
            Ok(length) => {
                self.read.extend(piece.get(..length).unwrap_or_default());
                Ok(true)
            }
            Err(error) if is_for_later(&error) => Ok(false),
            Err(_) => Err(self.ended()),
        }
    }

    /// Until something can be read, or written where something is left to write.
    fn wait(&self, left: Duration, writes: bool) {
        let mut fds = vec![PollFd::from_borrowed_fd(self.stdout.as_fd(), PollFlags::IN)];
        if writes {
            fds.push(PollFd::from_borrowed_fd(self.stdin.as_fd(), PollFlags::OUT));
        }
        // Whatever it says, the caller looks again.
        let _ = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
    }

    fn ended(&mut self) -> Failure {
        // It closes its pipes a moment before it is gone.
        let until = Instant::now() + Duration::from_millis(50);
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Failure::Ended(status.to_string()),
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
                _ => return Failure::Ended("it closed its stdout".into()),
            }
        }
    }
}

impl Drop for Process {
    /// Kills whatever it has started too, as far as that has not left its group.
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
