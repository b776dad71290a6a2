package store

import (
	"context"
	"io"
	"net"
	"testing"
)

// BenchmarkHit is a hit in memory, on all processors at once.
func BenchmarkHit(b *testing.B) {
	s := open(b, Options{})
	for i := range 1000 {
		put(b, s, key(i), "head", "a small body")
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			e := s.Get(key(i % 1000))
			if e.Bytes() == nil {
				b.Error("no bytes")
			}
			e.Release()
		}
	})
}

func BenchmarkMiss(b *testing.B) {
	s := open(b, Options{})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.Get(key(i))
	}
}

// BenchmarkFill is a small entry made, kept, and in time evicted.
func BenchmarkFill(b *testing.B) {
	s := open(b, Options{Memory: 4 << 20})
	body := make([]byte, 1<<10)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f := s.Create(key(i), nil, int64(len(body)))
		f.Write(body)
		f.Commit()
	}
}

// BenchmarkDiskFill is 1 MiB to the disk.
func BenchmarkDiskFill(b *testing.B) {
	opt := onDiskOptions(b)
	opt.Disk = 512 << 20
	s := open(b, opt)
	body := make([]byte, 1<<20)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f := s.Create(key(i), nil, int64(len(body)))
		for j := 0; j < len(body); j += 32 << 10 {
			f.Write(body[j : j+32<<10])
		}
		if err := f.Commit(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDiskHit is 1 MiB from the disk to a TCP connection.
func BenchmarkDiskHit(b *testing.B) {
	for _, how := range []string{"sendfile", "buffered", "verified"} {
		b.Run(how, func(b *testing.B) {
			opt := onDiskOptions(b)
			opt.VerifyAlways = how == "verified"
			s := open(b, opt)
			if err := fillIn(s, key(1), []byte("head"), content(1, 1<<20), true); err != nil {
				b.Fatal(err)
			}
			w := drain(b)
			if how != "sendfile" {
				w = struct{ io.Writer }{w}
			}
			b.SetBytes(1 << 20)
			b.ReportAllocs()
			for b.Loop() {
				e := s.Get(key(1))
				r := e.Reader(context.Background(), 0, -1)
				if n, err := r.(io.WriterTo).WriteTo(w); n != 1<<20 || err != nil {
					b.Fatal(n, err)
				}
				r.Close()
				e.Release()
			}
		})
	}
}

// drain returns a TCP connection whose other end reads and forgets.
func drain(tb testing.TB) io.Writer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c})
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close(); <-done; l.Close() })
	return c
}

// BenchmarkOpen opens a store of a million records.
func BenchmarkOpen(b *testing.B) {
	const records = 1_000_000
	opt := Options{Dir: b.TempDir(), Disk: 1 << 30, Memory: 4 << 20, MaxMemoryEntry: 1 << 10, Log: quiet()}
	s := million(b, opt, records)
	for b.Loop() {
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		var err error
		if s, err = Open(opt); err != nil {
			b.Fatal(err)
		}
		if n := s.Stats().DiskEntries; n != records {
			b.Fatalf("%d entries", n)
		}
	}
	s.Close()
}

// BenchmarkScan is the same after a SIGKILL with no snapshot of the records at
// all: what a minute's work costs is a part of it.
func BenchmarkScan(b *testing.B) {
	const records = 1_000_000
	opt := Options{Dir: b.TempDir(), Disk: 1 << 30, Memory: 4 << 20, MaxMemoryEntry: 1 << 10, Log: quiet()}
	s := million(b, opt, records)
	for b.Loop() {
		s = kill(b, s, opt)
		if n := s.Stats().DiskEntries; n != records {
			b.Fatalf("%d entries", n)
		}
	}
	s.Close()
}

// million makes a store of many small records.
func million(b *testing.B, opt Options, records int) *Store {
	s, err := Open(opt)
	if err != nil {
		b.Fatal(err)
	}
	batch := make([]*pending, 0, 1000)
	for i := range records {
		k := key(i)
		k[15] = byte(i * 7)
		batch = append(batch, &pending{record: record{key: k, seq: s.seq.Add(1), size: 100, kind: kindInline, table: make([]uint32, 1)}, body: make([]byte, 100)})
		if len(batch) == cap(batch) {
			if err := s.disk.write(logMain, batch, hasty); err != nil {
				b.Fatal(err)
			}
			for _, p := range batch {
				s.shard(p.key).index.put(p.key, p.place, nil)
			}
			batch = batch[:0]
		}
	}
	return s
}
