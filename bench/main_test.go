package main

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every row of the table is measured, be it with little work.
func TestTheTableIsWhole(t *testing.T) {
	var table strings.Builder
	if err := run(&table, 1, 32); err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSpace(table.String()), "\n")
	if len(rows) != 6 {
		t.Errorf("%d rows, want a head and 5 parts:\n%s", len(rows), &table)
	}
	for _, row := range rows {
		if strings.Contains(row, " 0.00") || strings.Contains(row, "Inf") || strings.Contains(row, "NaN") {
			t.Errorf("not measured: %s", row)
		}
	}
}
