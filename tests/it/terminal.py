"""Runs the dashboard as a job of a shell on a new pseudoterminal: PROGRAM CASE STORAGE. Exits with 0 if the case passes."""
import fcntl, os, pty, re, signal, struct, sys, termios, threading, time

PROGRAM, CASE, STORAGE = sys.argv[1:4]
ENTER = [b"\x1b[?1049h", b"\x1b[?1000h", b"\x1b[?2004h"]
LEAVE = [b"\x1b[?1049l", b"\x1b[?1000l", b"\x1b[?2004l"]


class Job:
    """The program in the foreground of a session whose leader does what a shell does: waits, reports, continues."""

    def __init__(self, *args, term="xterm-256color", **variables):
        self.reports, reports = os.pipe()
        commands, self.commands = os.pipe()
        leader, self.terminal = pty.fork()
        if leader == 0:
            shell(reports, commands, args or ["--source", "simulator"], {"TERM": term, **variables})
        os.close(reports)
        # Large enough for every pane.
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.output, self.lines, self.read = b"", [], b""
        threading.Thread(target=self.collect, args=(self.terminal, "output"), daemon=True).start()
        threading.Thread(target=self.collect, args=(self.reports, "read"), daemon=True).start()
        self.until("the program's start", lambda: b"\n" in self.read)
        self.pid = int(self.read.split(b"\n")[0])

    def collect(self, fd, name):
        try:
            while chunk := os.read(fd, 65536):
                setattr(self, name, getattr(self, name) + chunk)
        except OSError:
            pass

    def until(self, what, holds):
        end = time.monotonic() + 60
        while not holds():
            if time.monotonic() > end:
                sys.exit(f"{CASE}: timed out waiting for {what}\nreports: {self.read!r}\noutput: {self.output[-3000:]!r}")
            time.sleep(0.01)

    def raw(self):
        return not termios.tcgetattr(self.terminal)[3] & termios.ICANON

    def shown(self):
        """Whether the program has taken the terminal and drawn since the last `forget`."""
        return all(mode in self.output for mode in ENTER) and b"Markets" in self.output and self.raw()

    def text(self):
        """The output without escape sequences, each run of blanks as one blank."""
        return re.sub(rb"(\x1b\[[0-9;?]*[A-Za-z]|\s)+", b" ", self.output)

    def restored(self):
        return all(mode in self.output for mode in LEAVE) and not self.raw()

    def forget(self):
        self.output = b""

    def reported(self, pattern):
        return re.search(pattern, self.read) is not None

    def signal(self, number):
        os.kill(self.pid, number)

    def foreground(self):
        os.write(self.commands, b"f")


def shell(reports, commands, args, environment):
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    program = os.fork()
    if program == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execve(PROGRAM, [PROGRAM, *args, "--storage", STORAGE], environment)
    os.write(reports, b"%d\n" % program)
    cooked = termios.tcgetattr(0)
    cooked[3] |= termios.ICANON | termios.ECHO
    while True:
        _, status = os.waitpid(program, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            os.tcsetpgrp(0, os.getpgrp())
            termios.tcsetattr(0, termios.TCSADRAIN, cooked)
            os.write(reports, b"stopped\n")
            os.read(commands, 1)
            os.tcsetpgrp(0, program)
            os.kill(program, signal.SIGCONT)
        elif os.WIFSIGNALED(status):
            os.write(reports, b"killed by %d\n" % os.WTERMSIG(status))
            time.sleep(60)
        else:
            os.write(reports, b"ended %d\n" % os.WEXITSTATUS(status))
            time.sleep(60)


def stop_and_continue(job, stop, restores):
    job.until("the dashboard", job.shown)
    for turn in range(2):
        job.forget()
        stop(job)
        job.until("the stop", lambda: job.read.count(b"stopped") == turn + 1)
        if restores:
            job.until("the restored terminal", job.restored)
        job.forget()
        job.foreground()
        job.until("the dashboard again", job.shown)
    job.forget()
    os.write(job.terminal, b"q")
    job.until("the end", lambda: job.reported(rb"ended 0"))
    job.until("the restored terminal", job.restored)


def ended_by(job, number, how):
    """Ends the program by a signal once it has drawn."""
    job.until("the dashboard", job.shown)
    job.forget()
    job.signal(number)
    job.until("the end", lambda: job.reported(how))
    job.until("the restored terminal", job.restored)


def refused(job, *reasons):
    job.until("the end", lambda: job.reported(rb"ended 1"))
    job.until("the reason", lambda: all(reason in job.output for reason in reasons))
    if os.path.exists(STORAGE) or any(mode in job.output for mode in ENTER):
        sys.exit(f"{CASE}: it has started: {job.output!r}")


def without_log_file(job):
    job.until("the dashboard", job.shown)
    job.until("the warning", lambda: b"logging to the log pane only" in job.text())
    ended_by(job, signal.SIGTERM, rb"ended 0")


def default_log_file_in_the_way():
    os.makedirs(STORAGE)
    open(f"{STORAGE}/logs", "w").close()
    without_log_file(Job())


CASES = {
    "ctrl-z": lambda: stop_and_continue(Job(), lambda job: os.write(job.terminal, b"\x1a"), True),
    "tstp": lambda: stop_and_continue(Job(), lambda job: job.signal(signal.SIGTSTP), True),
    "stop": lambda: stop_and_continue(Job(), lambda job: job.signal(signal.SIGSTOP), False),
    "quit": lambda: ended_by(Job(), signal.SIGQUIT, rb"killed by %d" % signal.SIGQUIT),
    "hup": lambda: ended_by(Job(), signal.SIGHUP, rb"ended 0"),
    "term": lambda: ended_by(Job(), signal.SIGTERM, rb"ended 0"),
    "dumb": lambda: refused(Job(term="dumb"), b"TERM is", b"--no-tui"),
    "unset": lambda: refused(Job(term=""), b"TERM is", b"--no-tui"),
    # A folder cannot be opened as a log file.
    "log-file": lambda: refused(Job(CRYPTOSTREAM_LOG_FILE="/"), b"the log file '/' cannot be written: "),
    "monitor-log-file": lambda: refused(Job("monitor", CRYPTOSTREAM_LOG_FILE="/"), b"the log file '/' cannot be written: "),
    "default-log-file": default_log_file_in_the_way,
    "monitor-read-only": lambda: without_log_file(Job("monitor")),
}
CASES[CASE]()
