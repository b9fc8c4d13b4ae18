// Package object is the layout that the destinations for whole objects share, files and S3: how an object is named
// (prefix expressions as Amazon Data Firehose has them), and what its bytes are (records, a delimiter, a codec).
package object
