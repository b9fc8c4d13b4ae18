package proctest

import (
	"encoding/json"
	"strings"
	"testing"
)

// status is hydrant status --json, as far as the tests look at it.
type status struct {
	Pipelines map[string]pipelineStatus
}

type pipelineStatus struct {
	Appended     totals
	Full         string
	Destinations map[string]destinationStatus
}

type destinationStatus struct {
	Delivered, Refused, Dropped, Damaged, Pending totals
}

type totals struct{ Records, Bytes int64 }

// status asks the daemon, or its data_dir when it is down.
func (d *daemon) status() status {
	d.t.Helper()
	code, out := run(d.t, nil, "status", "--json", "-c", d.config)
	var s status
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 && code != 3 {
		d.t.Fatalf("status --json: exit code %d, %v\n%s", code, err, out)
	}
	return s
}

// addsUp fails unless every destination of the pipeline app has delivered so many records and nothing else became of any.
func (d *daemon) addsUp(records int64) {
	d.t.Helper()
	p := d.status().Pipelines["app"]
	if len(p.Destinations) == 0 {
		d.t.Fatal("status names no destination of app")
	}
	for name, s := range p.Destinations {
		if p.Appended.Records != records || s.Delivered.Records != records || s.Refused.Records+s.Dropped.Records+s.Damaged.Records+s.Pending.Records != 0 {
			d.t.Errorf("app/%s: status says %+v of %+v, the test counted %d delivered", name, s, p.Appended, records)
		}
	}
}

// With the daemon down, status reads data_dir, says so, and exits with 3.
func TestStatusOfADaemonThatIsDown(t *testing.T) {
	ds := newDeliveries(t)
	d := start(t, launch{config: ds.with(t, "{}", fileTo("a"), fileTo("b"))}).ready()
	if code, out := run(t, nil, "status", "-c", d.config); code != 0 || !strings.Contains(out, "app") {
		t.Errorf("status: exit code %d, want 0 and the pipeline's name:\n%s", code, out)
	}
	mustPost(t, ds.url, numbered("r", 100))
	d.stop()
	code, out := run(t, nil, "status", "-c", d.config)
	if code != 3 || !strings.Contains(out, "app") || !strings.Contains(out, "100") {
		t.Errorf("status with the daemon down: exit code %d, want 3 and the 100 records of app:\n%s", code, out)
	}
	d.addsUp(100)
}
