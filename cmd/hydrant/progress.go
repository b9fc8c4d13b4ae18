package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/config"
)

// progress shows how far run --once has come: on a terminal a line that changes, elsewhere one every few seconds.
type progress struct {
	daemon *daemon
	every  time.Duration // 0: never
	screen *screen
	began  tally
}

// tally is what all pipelines have done by a moment.
type tally struct {
	at                           time.Duration
	appended, delivered, refused buffer.Totals // delivered and refused: of all destinations
	pending                      int64         // of the destination that is furthest behind
	trouble                      string
	unknown                      bool // a delivery could not be opened, or cannot tell how it stands
}

func (d *daemon) tally() tally {
	t := tally{at: d.clock.Mono()}
	for _, p := range d.pipelines {
		now := p.now()
		if now.log != nil {
			t.appended.Add(now.log.State().Appended)
		}
		for _, o := range now.deliveries {
			if o.err != nil {
				t.trouble, t.unknown = fmt.Sprintf("%s/%s: %s", p.name, o.name, o.err), true
				continue
			}
			s, err := o.Status()
			if err != nil {
				t.trouble, t.unknown = fmt.Sprintf("%s/%s: %s", p.name, o.name, err), true
				continue
			}
			t.delivered.Add(s.Delivered)
			t.refused.Add(s.Refused)
			t.pending = max(t.pending, s.Pending.Records)
			if e := s.LastError; e != nil && e.Until.IsZero() {
				t.trouble = fmt.Sprintf("%s/%s: %s", p.name, o.name, e.Text)
			}
		}
	}
	return t
}

func (d *daemon) progress(once bool) *progress {
	p := &progress{daemon: d, screen: d.console.screen}
	if !once {
		return p
	}
	p.began, p.every = d.tally(), 5*time.Second
	if p.screen.width() > 0 {
		p.every = 500 * time.Millisecond
	}
	return p
}

// wait returns when one of ends is closed, and shows how it goes until then.
func (p *progress) wait(ends ...<-chan struct{}) {
	none := context.Context(nil)
	for {
		until := hydrant.Never
		if p.every > 0 {
			until = p.daemon.clock.Mono() + p.every
		}
		if p.daemon.clock.Wait(none, until, ends...) == nil {
			return
		}
		p.tell(p.daemon.tally(), p.screen.show)
	}
}

// tell says what is new since the start: in words to a reader, as a log line to a program.
func (p *progress) tell(t tally, say func(string)) {
	took := config.FormatDuration((t.at - p.began.at).Round(100 * time.Millisecond))
	in, bytes := t.appended.Records-p.began.appended.Records, t.appended.Bytes-p.began.appended.Bytes
	delivered, refused := t.delivered.Records-p.began.delivered.Records, t.refused.Records-p.began.refused.Records
	if p.daemon.cfg.Log.Format == "json" {
		p.daemon.log.Info("progress", "elapsed", took, "records", in, "bytes", bytes, "delivered", delivered,
			"refused", refused, "pending", t.pending, "err", t.trouble)
		return
	}
	line := fmt.Sprintf("%s: %d records in (%s), %d delivered, %d refused, %d pending", took, in, bytesText(bytes), delivered, refused, t.pending)
	if t.trouble != "" {
		line += "; " + t.trouble
	}
	say(line)
}

// end leaves the last word on the screen. whole: all sources were read to their end.
func (p *progress) end(whole bool) {
	if p.every == 0 {
		return
	}
	t := p.daemon.tally()
	if whole && t.trouble == "" && t.appended == p.began.appended && p.began.pending == 0 && t.pending == 0 {
		p.daemon.log.Info("nothing to do: the sources were at their end and nothing was pending")
		return
	}
	p.tell(t, p.screen.say)
}

// bytesText is n for people.
func bytesText(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, u := float64(n)/1024, 0
	for v >= 1024 {
		v, u = v/1024, u+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[u])
}

// screen is standard error: lines that stay, and on a terminal one below them that changes.
type screen struct {
	mu    sync.Mutex
	to    io.Writer
	shown bool // there is a line to be wiped
}

// width is that of the terminal in columns, 0 if it is none.
func (s *screen) width() int {
	f, ok := s.to.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 80
	}
	return w
}

// Write implements io.Writer: what is written stays.
func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.wipe(); err != nil {
		return 0, err
	}
	return s.to.Write(b)
}

func (s *screen) wipe() error {
	if !s.shown {
		return nil
	}
	s.shown = false
	_, err := io.WriteString(s.to, "\r\x1b[K")
	return err
}

// say writes a line that stays.
func (s *screen) say(line string) { fmt.Fprintln(s, line) }

// show replaces the line that changes, or without a terminal adds one.
func (s *screen) show(line string) {
	width := s.width()
	if width == 0 {
		s.say(line)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if runes := []rune(line); len(runes) >= width {
		line = string(runes[:width-1])
	}
	fmt.Fprint(s.to, "\r\x1b[K"+line)
	s.shown = true
}
