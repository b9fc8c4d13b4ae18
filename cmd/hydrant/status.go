package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/config"
)

type statusCmd struct {
	configFlag
	Addr string `placeholder:"URL" help:"Ask the admin port of a daemon, such as http://127.0.0.1:9640, instead of the one on data_dir."`
	JSON bool   `name:"json" help:"Print everything as JSON."`
}

// Run implements `hydrant status`.
func (s *statusCmd) Run(c *console) error {
	r, err := s.report(c)
	if err != nil {
		return err
	}
	if s.JSON {
		out := json.NewEncoder(c.out)
		out.SetIndent("", "  ")
		err = out.Encode(r)
	} else {
		err = r.print(c.out, hydrant.NewSystemClock().Wall())
	}
	if err != nil {
		return err
	}
	if r.Running {
		return r.holds()
	}
	if s.JSON {
		return &exit{code: exitPartial} // "running" says it
	}
	return &exit{exitPartial, fmt.Sprintf("no daemon runs on %s: this is what its files say", r.DataDir)}
}

// holds is an error that names what can do nothing and not even be counted; nil if there is none.
func (r report) holds() error {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(r.Pipelines)) {
		p := r.Pipelines[name]
		if p.Error != "" {
			names = append(names, name)
			continue
		}
		for _, dest := range slices.Sorted(maps.Keys(p.Destinations)) {
			if p.Destinations[dest].Error != "" {
				names = append(names, name+"/"+dest)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("status: held, see above: %s", strings.Join(names, ", "))
}

// report asks the daemon, or reads data_dir when there is none.
func (s *statusCmd) report(c *console) (report, error) {
	if s.Addr != "" {
		return s.remote()
	}
	cfg, err := s.inspect(c, c.err)
	if err != nil {
		return report{}, err
	}
	local := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialDaemon(ctx, cfg.DataDir) }}
	defer local.CloseIdleConnections()
	r, err := ask(local, "http://hydrant/status")
	if err == nil {
		return r, nil
	}
	if pid := lockedBy(cfg.DataDir); pid != "" {
		return report{}, fmt.Errorf("the daemon on %s, process %s, does not answer (yet): %w", cfg.DataDir, pid, err)
	}
	return offlineReport(cfg)
}

// remote asks the daemon at s.Addr.
func (s *statusCmd) remote() (report, error) {
	if s.Config != "" {
		return report{}, &exit{exitUsage, "--addr asks a daemon wherever it is, -c names the configuration of one that is here: want one of them"}
	}
	base := s.Addr
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	if u, err := url.Parse(base); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return report{}, &exit{exitUsage, fmt.Sprintf("--addr %s: want an address such as http://127.0.0.1:9640", s.Addr)}
	}
	r, err := ask(http.DefaultTransport, strings.TrimSuffix(base, "/")+"/status")
	var silent *url.Error
	if errors.As(err, &silent) {
		return r, &exit{exitPartial, fmt.Sprintf("no daemon answers at %s: %s", s.Addr, silent.Err)}
	}
	return r, err
}

func ask(through http.RoundTripper, from string) (r report, err error) {
	client := &http.Client{Transport: through, Timeout: 30 * time.Second}
	answer, err := client.Get(from)
	if err != nil {
		return r, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return r, fmt.Errorf("%s: answered %s, want the admin address of a hydrant", from, answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(&r); err != nil {
		return r, fmt.Errorf("%s: %w, want the admin address of a hydrant", from, err)
	}
	return r, nil
}

// print shows the report to people.
func (r report) print(to io.Writer, now time.Time) error {
	var b strings.Builder
	state := "down"
	if r.Running && r.Started != nil {
		state = fmt.Sprintf("process %d, up %s", r.PID, age(now.Sub(*r.Started)))
	}
	fmt.Fprintf(&b, "hydrant %s on %s: %s\n", r.Version, r.DataDir, state)
	for _, name := range slices.Sorted(maps.Keys(r.Pipelines)) {
		b.WriteByte('\n')
		r.Pipelines[name].print(&b, name, now)
	}
	if len(r.Orphans) > 0 {
		b.WriteByte('\n')
	}
	for _, o := range r.Orphans {
		what, which := "log", o.Pipeline
		if o.Destination != "" {
			what, which = "cursor", o.Pipeline+"/"+o.Destination
		}
		fmt.Fprintf(&b, "orphaned %s: %s is in data_dir and not in the configuration; it keeps what it holds until: hydrant buffer forget %s %s\n",
			what, which, r.DataDir, which)
	}
	_, err := io.WriteString(to, b.String())
	return err
}

func (p pipelineReport) print(b *strings.Builder, name string, now time.Time) {
	fmt.Fprintf(b, "%s: appended %s; %s of %s taken: the log %s, set aside for spools %s\n", name, p.Appended,
		bytesText(p.UsedBytes), bytesText(p.MaxBytes), bytesText(p.DiskBytes), bytesText(p.SpoolBytes))
	for _, trouble := range [][2]string{{"holds", p.Error}, {"full", p.Full}, {"poisoned", p.Poisoned}} {
		if trouble[1] != "" {
			fmt.Fprintf(b, "  %s: %s\n", trouble[0], trouble[1])
		}
	}
	for _, s := range p.Sources {
		switch {
		case s.Error != "":
			fmt.Fprintf(b, "  %s ended: %s\n", s.Source, s.Error)
		case s.Ended:
			fmt.Fprintf(b, "  %s came to its end\n", s.Source)
		}
	}
	if p.Damaged != (totals{}) {
		fmt.Fprintf(b, "  damaged: %s were lost in the log\n", p.Damaged)
	}
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tappended\tdelivered\trefused\tdropped\tdamaged\tpending\tbytes\toldest\tlast delivery\t")
	for _, dest := range slices.Sorted(maps.Keys(p.Destinations)) {
		o := p.Destinations[dest]
		last := "-"
		if o.LastDelivery != nil {
			last = age(now.Sub(*o.LastDelivery)) + " ago"
		}
		oldest := "-"
		if o.Pending.Records > 0 {
			oldest = age(time.Duration(o.OldestPending * float64(time.Second)))
		}
		if o.Error != "" && o.Appended == (totals{}) {
			fmt.Fprintf(table, "  %s\t?\t?\t?\t?\t?\t?\t?\t-\t-\t\n", dest) // nothing is known of it
			continue
		}
		fmt.Fprintf(table, "  %s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t\n", dest, o.Appended.Records, o.Delivered.Records,
			o.Refused.Records, o.Dropped.Records, o.Damaged.Records, o.Pending.Records, bytesText(o.Pending.Bytes), oldest, last)
	}
	_ = table.Flush() // into a Builder
	for _, dest := range slices.Sorted(maps.Keys(p.Destinations)) {
		p.Destinations[dest].printTrouble(b, dest, now)
	}
}

func (o outletReport) printTrouble(b *strings.Builder, name string, now time.Time) {
	if o.Error != "" {
		fmt.Fprintf(b, "  %s holds: %s\n", name, o.Error)
	}
	e := o.LastError
	if e == nil {
		return
	}
	if e.Until != nil {
		fmt.Fprintf(b, "  %s had trouble until %s ago, %s: %s\n", name, age(now.Sub(*e.Until)), plural(e.Attempts, "failed attempt"), e.Text)
		return
	}
	what := "fails"
	if e.Operator {
		what = "holds"
	}
	fmt.Fprintf(b, "  %s %s since %s, %s: %s\n", name, what, age(now.Sub(e.Since)), plural(e.Attempts, "attempt"), e.Text)
	if e.Remedy != "" {
		fmt.Fprintf(b, "    what to do: %s\n", e.Remedy)
	}
}

// String is the totals for people.
func (t totals) String() string { return plural(t.Records, "record") + " (" + bytesText(t.Bytes) + ")" }

// age is a duration for people: no finer than seconds, and seconds only below an hour.
func age(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		d = d.Round(time.Second)
	default:
		d = d.Round(time.Minute)
	}
	return config.FormatDuration(d)
}
