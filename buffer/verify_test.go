package buffer

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hydrantd/hydrant"
)

func TestStreamsAreFoundAsVerifyFindsThem(t *testing.T) {
	dir := dataDir(t)
	stream := func(name string) string { return filepath.Join(dir, "streams", name) }
	for _, tt := range []struct {
		name, dir string
		want      []string
	}{
		{"a data_dir", dir, []string{stream("laid-out"), stream("lived")}},
		{"a stream", stream("lived"), []string{stream("lived")}},
		{"a folder of segments has no cursors", filepath.Join(stream("lived"), "log"), nil},
	} {
		if got, err := Streams(hydrant.OS{}, tt.dir); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
	if _, err := Streams(hydrant.OS{}, t.TempDir()); err == nil {
		t.Error("an empty directory is taken for something")
	}
}

func TestJournalsAreReadAsLongAsTheyVerify(t *testing.T) {
	dir := filepath.Join(dataDir(t), "streams", "lived")
	all, err := Journals(hydrant.OS{}, dir)
	if err != nil || len(all) != 1 || all[0].Cursor != "archive" || all[0].Committed == 0 || len(all[0].Entries) != 6 {
		t.Errorf("%+v, %v, want archive's with two entries of each of three openings", all, err)
	}
	for _, suffix := range journalSuffixes {
		name := filepath.Join(dir, "cursors", "archive"+suffix)
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		clear(b[:8])
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := Journals(hydrant.OS{}, dir); err != nil || len(all) != 0 {
		t.Errorf("one that is damaged: %+v, %v", all, err)
	}
	if all, err := Journals(hydrant.OS{}, t.TempDir()); err != nil || len(all) != 0 {
		t.Errorf("of no stream: %+v, %v", all, err)
	}
}
