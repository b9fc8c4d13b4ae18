package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/delivery"
)

type bufferCmd struct {
	Verify  verifyCmd  `cmd:"" help:"Check everything in DIR and name each damaged place. Exits with 1 if there is one."`
	Dump    dumpCmd    `cmd:"" help:"Print everything in DIR, as lines of JSON."`
	Salvage salvageCmd `cmd:"" help:"Print every record in DIR that can still be read, as lines of JSON, whatever else is damaged."`
	Forget  forgetCmd  `cmd:"" help:"Remove the log of a pipeline, or the cursor and the spool of a destination, that is no longer configured."`
}

// dirArg is the directory a command works on.
type dirArg struct {
	Dir string `arg:"" help:"A data_dir, one of its streams, or the log folder in that."`
}

// idle returns an error when a daemon runs on the directory.
func (d dirArg) idle() error {
	dir, err := filepath.Abs(d.Dir)
	if err != nil {
		return err
	}
	for range 4 { // of data_dir/streams/NAME/log
		if pid := lockedBy(dir); pid != "" {
			return fmt.Errorf("%s: %w by a daemon, process %s: stop it first", d.Dir, errLocked, pid)
		}
		dir = filepath.Dir(dir)
	}
	return nil
}

type verifyCmd struct{ dirArg }

// Run implements `hydrant buffer verify`.
func (v *verifyCmd) Run(c *console) error {
	if err := v.idle(); err != nil {
		return err
	}
	if err := knownVersion(hydrant.OS{}, v.Dir); err != nil {
		return err
	}
	found, err := buffer.Verify(hydrant.OS{}, v.Dir, c.out)
	if err != nil {
		return err
	}
	spooled, err := v.spools(c)
	if err != nil {
		return err
	}
	var errs []error
	if found.Damaged > 0 {
		errs = append(errs, fmt.Errorf("%s: %s damaged, %s lost: hydrant buffer salvage prints all others",
			v.Dir, plural(found.Damaged, "place"), plural(found.Lost, "record")))
	}
	if spooled > 0 {
		errs = append(errs, fmt.Errorf("%s: %s damaged in what is spooled: it may have been sent, so it is not built again; put the files back as they were",
			v.Dir, plural(spooled, "place")))
	}
	return errors.Join(errs...)
}

// spools counts the damage in what the deliveries have spooled.
func (v *verifyCmd) spools(c *console) (damaged int, err error) {
	streams, err := buffer.Streams(hydrant.OS{}, v.Dir)
	for _, dir := range streams {
		n, err := delivery.VerifySpool(hydrant.OS{}, dir, c.out)
		damaged += n
		if err != nil {
			return damaged, err
		}
	}
	return damaged, err
}

type dumpCmd struct{ dirArg }

// Run implements `hydrant buffer dump`.
func (d *dumpCmd) Run(c *console) error {
	if err := d.idle(); err != nil {
		return err
	}
	return buffer.Dump(hydrant.OS{}, d.Dir, c.out)
}

type salvageCmd struct{ dirArg }

// Run implements `hydrant buffer salvage`.
func (s *salvageCmd) Run(c *console) error {
	if err := s.idle(); err != nil {
		return err
	}
	found, err := buffer.Salvage(hydrant.OS{}, s.Dir, c.out)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.err, "%s read, %s damaged, %s known to be lost\n",
		plural(found.Records.Records, "record"), plural(found.Damaged, "place"), plural(found.Lost, "record"))
	return err
}

type forgetCmd struct {
	Dir  string `arg:"" help:"The data_dir."`
	Name string `arg:"" name:"pipeline[/destination]" help:"What to forget. What it has not delivered is lost."`
}

// Run implements `hydrant buffer forget`.
func (f *forgetCmd) Run(c *console) error {
	stream, destination, one := strings.Cut(f.Name, "/")
	for _, part := range []string{stream, destination} {
		if part == "." || part == ".." || strings.ContainsAny(part, "/\\") || part == "" && (one || stream == "") {
			return &exit{exitUsage, fmt.Sprintf("%q: want PIPELINE or PIPELINE/DESTINATION", f.Name)}
		}
	}
	dir := filepath.Join(f.Dir, "streams", stream)
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("%s: there is no log of %s in it", f.Dir, stream)
	}
	if err := knownVersion(hydrant.OS{}, f.Dir); err != nil {
		return err
	}
	lock, err := lockDir(f.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	lost, damage := offlineStream(dir, stream)
	if damage != nil {
		fmt.Fprintf(c.err, "hydrant: what is not delivered cannot be counted: %s\n", damage)
	}
	if one {
		return forgetDestination(c, dir, stream, destination, lost)
	}
	return forgetStream(c, f.Dir, stream, lost)
}

func forgetDestination(c *console, dir, stream, destination string, lost pipelineReport) error {
	if err := buffer.Forget(hydrant.OS{}, dir, destination); err != nil {
		return err
	}
	// The spool of a cursor that is gone is worth nothing: should this fail, the next delivery of that name sweeps it.
	if err := os.RemoveAll(filepath.Join(dir, "spool", destination)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.out, "forgot %s/%s; %s had not been delivered there\n", stream, destination, lost.Destinations[destination].Pending)
	return err
}

// forgetStream moves the stream out of the way first, so that half of one is never taken for a whole.
func forgetStream(c *console, dataDir, stream string, lost pipelineReport) error {
	gone := filepath.Join(dataDir, "forgotten")
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dataDir, "streams", stream), gone); err != nil {
		return err
	}
	if err := errors.Join(hydrant.SyncDir(hydrant.OS{}, filepath.Join(dataDir, "streams"), hydrant.PointMkdir), os.RemoveAll(gone)); err != nil {
		return err
	}
	pending := make([]string, 0, len(lost.Destinations))
	for _, name := range slices.Sorted(maps.Keys(lost.Destinations)) {
		pending = append(pending, fmt.Sprintf("%s had not been delivered to %s", lost.Destinations[name].Pending, name))
	}
	if len(pending) == 0 {
		pending = append(pending, "no destination had read from it")
	}
	_, err := fmt.Fprintf(c.out, "forgot %s with %s; %s\n", stream, lost.Appended, strings.Join(pending, "; "))
	return err
}

// missing is nil for a file that is not there: then there is nothing yet.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
