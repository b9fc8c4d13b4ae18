package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/delivery"
)

// report is what `hydrant status` shows and /status answers. Its JSON is an interface: fields are added, not renamed.
type report struct {
	Version   string                    `json:"version"`
	Running   bool                      `json:"running"` // false: read from data_dir
	PID       int                       `json:"pid,omitempty"`
	Started   *time.Time                `json:"started,omitempty"`
	Ready     bool                      `json:"ready"` // the doors are open
	DataDir   string                    `json:"data_dir"`
	Pipelines map[string]pipelineReport `json:"pipelines"`
	Orphans   []orphan                  `json:"orphans,omitempty"`
}

type pipelineReport struct {
	Error        string                  `json:"error,omitempty"` // why the log cannot be used
	Log          string                  `json:"log,omitempty"`
	Run          string                  `json:"run,omitempty"`
	Sources      []sourceReport          `json:"sources,omitempty"`
	Appended     totals                  `json:"appended"`
	Damaged      totals                  `json:"damaged"`     // lost in the log itself
	DiskBytes    int64                   `json:"disk_bytes"`  // of the log
	SpoolBytes   int64                   `json:"spool_bytes"` // set aside for the spools: the log cannot have them
	UsedBytes    int64                   `json:"used_bytes"`  // both: the log is full when they come to max_bytes
	MaxBytes     int64                   `json:"max_bytes"`
	Full         string                  `json:"full,omitempty"`
	Poisoned     string                  `json:"poisoned,omitempty"`
	Destinations map[string]outletReport `json:"destinations"`
}

type sourceReport struct {
	Source string `json:"source"`
	Ended  bool   `json:"ended"` // nothing more comes from it
	Error  string `json:"error,omitempty"`
}

type outletReport struct {
	Target        string       `json:"target"`
	Error         string       `json:"error,omitempty"` // why nothing can be said or done
	Appended      totals       `json:"appended"`
	Delivered     totals       `json:"delivered"`
	Refused       totals       `json:"refused"`
	Dropped       totals       `json:"dropped"`
	Damaged       totals       `json:"damaged"`
	Pending       totals       `json:"pending"`
	ReadyBatches  int          `json:"ready_batches"`
	OldestPending float64      `json:"oldest_pending_seconds"`
	LastDelivery  *time.Time   `json:"last_delivery,omitempty"`
	LastError     *errorReport `json:"last_error,omitempty"`
}

type errorReport struct {
	Text     string     `json:"text"`
	Remedy   string     `json:"remedy,omitempty"`
	Operator bool       `json:"operator"` // only the operator can mend it
	Since    time.Time  `json:"since"`
	Until    *time.Time `json:"until,omitempty"` // unset: it lasts
	Attempts int        `json:"attempts"`
}

type totals struct {
	Records int64 `json:"records"`
	Bytes   int64 `json:"bytes"`
}

// orphan is a log without a pipeline, or with Destination a cursor without a destination. It keeps what it holds until
// `hydrant buffer forget`.
type orphan struct {
	Pipeline    string `json:"pipeline"`
	Destination string `json:"destination,omitempty"`
}

// report says how everything stands now.
func (d *daemon) report() report {
	started := d.started
	r := report{
		Version: version(), Running: true, PID: os.Getpid(), Started: &started, Ready: d.ready.Load(),
		DataDir: d.cfg.DataDir, Pipelines: map[string]pipelineReport{},
	}
	for _, p := range d.pipelines {
		now := p.now()
		out := pipelineReport{Destinations: map[string]outletReport{}, Error: text(now.err)}
		for _, s := range p.doors {
			out.Sources = append(out.Sources, s.report())
		}
		if now.log != nil {
			out.state(now.log.State())
		}
		out.space(p.buffer)
		for _, o := range now.deliveries {
			out.Destinations[o.name] = o.report()
		}
		r.Pipelines[p.name] = out
	}
	var err error
	if r.Orphans, err = orphans(hydrant.OS{}, d.cfg); err != nil {
		d.log.Warn("orphans cannot be looked for", "err", err)
	}
	return r
}

func (r *pipelineReport) state(s buffer.State) {
	r.Log, r.Run = s.Log.String(), s.Run.String()
	r.Appended, r.Damaged, r.DiskBytes = totals(s.Appended), totals(s.Damaged), s.Disk
	r.Full, r.Poisoned = text(s.Full), text(s.Poisoned)
}

// space says how much of buffer.max_bytes is taken, once the state is known.
func (r *pipelineReport) space(s space) {
	r.SpoolBytes, r.MaxBytes = s.total()-s.log, s.total()
	r.UsedBytes = r.DiskBytes + r.SpoolBytes
}

func (o *outlet) report() outletReport {
	r := outletReport{Target: o.target}
	err := o.err
	if err == nil {
		var s delivery.Status
		if s, err = o.Status(); err == nil {
			r.status(s)
		}
	}
	r.Error = text(err)
	return r
}

func (r *outletReport) status(s delivery.Status) {
	r.Appended, r.Delivered, r.Refused = totals(s.Appended), totals(s.Delivered), totals(s.Refused)
	r.Dropped, r.Damaged, r.Pending = totals(s.Dropped), totals(s.Damaged), totals(s.Pending)
	r.ReadyBatches, r.OldestPending = s.Ready, s.OldestPending.Seconds()
	r.LastDelivery = moment(s.LastDelivery)
	if e := s.LastError; e != nil {
		r.LastError = &errorReport{e.Text, e.Remedy, e.Operator, e.Since, moment(e.Until), e.Attempts}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// orphans finds the logs and cursors in data_dir that the configuration has no use for.
func orphans(fsys hydrant.FS, cfg *config.Config) ([]orphan, error) {
	streams, err := fsys.ReadDir(filepath.Join(cfg.DataDir, "streams"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []orphan
	for _, s := range streams {
		i := slices.IndexFunc(cfg.Pipelines, func(p config.Pipeline) bool { return p.Name == s.Name() })
		if i < 0 {
			found = append(found, orphan{Pipeline: s.Name()})
			continue
		}
		names, err := cursors(fsys, filepath.Join(cfg.DataDir, "streams", s.Name()))
		if err != nil {
			return found, err
		}
		for _, name := range names {
			if !slices.ContainsFunc(cfg.Pipelines[i].Destinations, func(d config.Destination) bool { return d.Name == name }) {
				found = append(found, orphan{s.Name(), name})
			}
		}
	}
	return found, nil
}

// cursors are the names of the cursors of a stream.
func cursors(fsys hydrant.FS, stream string) (names []string, err error) {
	files, err := fsys.ReadDir(filepath.Join(stream, "cursors"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, f := range files {
		for _, suffix := range []string{".a", ".b"} {
			if name, ok := strings.CutSuffix(f.Name(), suffix); ok && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, err
}
