//go:build !race

package sim

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hydrantd/hydrant"
)

// sabotaged names, for each point and rule that can be switched off, the test that has to fail then.
var sabotaged = []struct {
	point   hydrant.Point
	test    string
	flavour string // of the seeds, if one shows it sooner
}{
	{hydrant.PointBlock, "TestSim", ""},
	{hydrant.PointSegmentHeader, "TestSim", ""},
	{hydrant.PointSegmentDir, "TestSim", ""},
	{hydrant.PointCursorFile, "TestSim", ""},
	{hydrant.PointReady, "TestSim", ""},
	{hydrant.PointOutcome, "TestSim", "calm"},
	{hydrant.PointSave, "TestSim", ""},
	{hydrant.PointDone, "TestSim", ""},
	{hydrant.PointSnapshot, "TestAJournalOutlivesItsRewriting", ""},
	{hydrant.PointSpoolFile, "TestSim", ""},
	{hydrant.PointSpoolDir, "TestSim", ""},
	{hydrant.PointTargetFile, "TestSim", ""},
	{hydrant.PointTargetDir, "TestSim", ""},
	{hydrant.PointMkdir, "TestSim", ""},
	{hydrant.PointQuarantine, "TestDamagedBytesAreKept", ""},
	{hydrant.PointReserve, "TestTheReserveOutlivesAPowerCut", ""},
	{hydrant.RulePutAfterReady, "TestSim", ""},
	{hydrant.RuleNameRun, "TestSim", "clones"},
	{hydrant.RuleNameLog, "TestSim", "twins"},
	{hydrant.RuleCheckCRC, "TestSim", "rotten"},
	{hydrant.RuleDropTornTail, "TestWhatWasAcknowledgedStays", ""},
	{hydrant.RuleOwnSegments, "TestWhatWasAcknowledgedStays", ""},
	{hydrant.RuleFreeAfterDone, "TestNothingIsFreedBeforeItIsDone", ""},
	{hydrant.RulePoisonOnFsync, "TestSim", "faulty"},
	{hydrant.RuleProveLastBlock, "TestWhatWasAcknowledgedStays", ""},
}

// enoughSeeds is how many seeds a switched-off point may survive.
const enoughSeeds = "400"

// TestEveryPointMatters builds the tests with the tag sabotage and runs them with each point switched off in turn: they
// have to fail. With nothing switched off they pass.
func TestEveryPointMatters(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "sim.test")
	if out, err := exec.Command("go", "test", "-c", "-tags", "sabotage", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("building the tests: %v\n%s", err, out)
	}
	run := func(off hydrant.Point, seeds, test, flavour string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, binary, "-test.run", "^("+test+")$")
		c.Env = append(os.Environ(), "HYDRANT_SABOTAGE="+string(off), "SIM_SEEDS="+seeds, "SIM_FLAVOUR="+flavour, "SIM_SEED=", "SIM_SECONDS=", "GOMAXPROCS=1")
		out, err := c.CombinedOutput()
		if ctx.Err() != nil {
			t.Errorf("%s: %s did not end", off, test)
		}
		return string(out), err
	}
	if out, err := run("", "5", "TestSim|TestDamaged.*|TestTheReserve.*|TestNothingIs.*|TestAJournal.*|TestWhatWas.*", ""); err != nil {
		t.Fatalf("with nothing switched off: %v\n%s", err, out)
	}
	var wg sync.WaitGroup
	turns := make(chan struct{}, 2)
	for _, one := range sabotaged {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			start := time.Now()
			out, err := run(one.point, enoughSeeds, one.test, one.flavour)
			if err == nil {
				t.Errorf("%s is switched off, and %s passes", one.point, one.test)
				return
			}
			t.Logf("%-18s %-34s %6.1fs  %s", one.point, one.test, time.Since(start).Seconds(), why(out))
		})
	}
	wg.Wait()
}

// why is the line of a test's output that says what is wrong.
func why(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "seed ") || strings.Contains(line, "fatal error") {
			line = strings.TrimSpace(line)
			return line[:min(len(line), 160)]
		}
	}
	return ""
}

// TestThePointsAreAllThere holds the table against points.go.
func TestThePointsAreAllThere(t *testing.T) {
	source, err := os.ReadFile("../points.go")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for line := range strings.Lines(string(source)) {
		if !strings.Contains(line, " Point = \"") {
			continue
		}
		count++
		name := strings.SplitN(line, `"`, 3)[1]
		found := false
		for _, one := range sabotaged {
			found = found || string(one.point) == name
		}
		if !found {
			t.Errorf("%s can be switched off, and no test is named that fails then", name)
		}
	}
	if count != len(sabotaged) {
		t.Errorf("points.go has %d points, the table %d", count, len(sabotaged))
	}
}
