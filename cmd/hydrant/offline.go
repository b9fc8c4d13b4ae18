package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/delivery"
)

// offlineReport says how everything stood when the last daemon ended. It changes nothing in data_dir.
func offlineReport(cfg *config.Config) (report, error) {
	if err := knownVersion(hydrant.OS{}, cfg.DataDir); err != nil {
		return report{}, err
	}
	r := report{Version: version(), DataDir: cfg.DataDir, Pipelines: map[string]pipelineReport{}}
	for _, p := range cfg.Pipelines {
		var names []string
		for _, d := range p.Destinations {
			names = append(names, d.Name)
		}
		out, err := offlineStream(filepath.Join(cfg.DataDir, "streams", p.Name), p.Name, names...)
		out.Error = text(err)
		out.space(share(p))
		for name := range out.Destinations {
			if !slices.Contains(names, name) {
				delete(out.Destinations, name) // an orphan
			}
		}
		for _, d := range p.Destinations {
			o := out.Destinations[d.Name]
			o.Target = target(d.Sink)
			out.Destinations[d.Name] = o
		}
		r.Pipelines[p.Name] = out
	}
	var err error
	r.Orphans, err = orphans(hydrant.OS{}, cfg)
	return r, err
}

// offlineStream looks at one stream: its log, each cursor that it has, and those that it is to have.
func offlineStream(dir, name string, wanted ...string) (pipelineReport, error) {
	out := pipelineReport{Destinations: map[string]outletReport{}}
	fsys, clock := newShadow(hydrant.OS{}), hydrant.NewSystemClock()
	if _, err := fsys.ReadDir(dir); err != nil {
		return out, missing(err)
	}
	names, err := cursors(fsys, dir)
	if err != nil {
		return out, err
	}
	for _, cursor := range wanted {
		if !slices.Contains(names, cursor) {
			names = append(names, cursor)
		}
	}
	// Gaps are accepted so that the log opens at all; the shadow forgets it.
	log, found, err := buffer.Open(buffer.Options{
		FS: fsys, Clock: clock, Rand: rand.Reader, Dir: dir, Name: name, Cursors: names, AcceptGap: names, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return out, err
	}
	defer log.Close()
	out.state(log.State())
	for _, cursor := range names {
		var o outletReport
		o.Error = text(o.offline(log, cursor, clock))
		if slices.Contains(found.Gaps, cursor) {
			o.Error = fmt.Sprintf("%s: hydrant run --accept-gap %s/%s goes on without it", buffer.ErrBehind, name, cursor)
		}
		out.Destinations[cursor] = o
	}
	return out, nil
}

func (o *outletReport) offline(log buffer.Log, name string, clock hydrant.Clock) error {
	c, err := log.Cursor(name, buffer.Oldest)
	if err != nil {
		return err
	}
	s, err := delivery.ReadStatus(c.Committed(), c.Entries(), log.State(), log.Reader(buffer.Filter{}), clock.Wall())
	if len(c.Entries()) == 0 { // it has no journal yet: for it, the log begins with the oldest record kept
		s.Appended = s.Pending
	}
	if err == nil {
		o.status(s)
	}
	return errors.Join(err, c.Close())
}
