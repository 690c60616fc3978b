// Checks one history with Porcupine and says what it found and how long that took, as a line of JSON.
//
//	porcupine register|kv FILE [SECONDS]
//
// FILE has an operation a line, fields apart by tabs, as sidebyside.py writes them:
//
//	register: kind (0 read, 1 write, 2 cas, 3 failed cas)  key  observed  written  start  finish
//	kv:       kind (0 get, 1 put, 2 append)  key  value  start  finish
//
// A finish of -1 is a crashed operation: it may take effect at any later time, or never.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	read = iota
	write
	cas
	failedCas
)

type registerInput struct {
	kind              int
	observed, written int64
	crashed           bool
}

var register = porcupine.Model{
	Init: func() interface{} { return int64(-1) },
	Step: func(state, input, _ interface{}) (bool, interface{}) {
		holds, in := state.(int64), input.(registerInput)
		switch in.kind {
		case read:
			return holds == in.observed, state
		case write:
			return true, in.written
		case failedCas:
			return holds != in.observed, state
		}
		if holds == in.observed {
			return true, in.written
		}
		return in.crashed, state
	},
	Hash: func(state interface{}) uint64 { return uint64(state.(int64)) * 0x9E3779B97F4A7C15 },
}

const (
	get = iota
	put
	appends
)

type kvInput struct {
	kind  int
	value string
}

var kv = porcupine.Model{
	Init: func() interface{} { return "" },
	Step: func(state, input, _ interface{}) (bool, interface{}) {
		holds, in := state.(string), input.(kvInput)
		switch in.kind {
		case get:
			return holds == in.value, state
		case put:
			return true, in.value
		}
		return true, holds + in.value
	},
	Hash: func(state interface{}) uint64 {
		sum := fnv.New64a()
		sum.Write([]byte(state.(string)))
		return sum.Sum64()
	},
}

func main() {
	if len(os.Args) < 3 {
		fail("usage: porcupine register|kv FILE [SECONDS]")
	}
	timeout := time.Duration(0)
	if len(os.Args) > 3 {
		seconds, err := strconv.ParseFloat(os.Args[3], 64)
		if err != nil {
			fail("not a number of seconds: " + os.Args[3])
		}
		timeout = time.Duration(seconds * float64(time.Second))
	}
	model, parse := register, registerOperation
	if os.Args[1] == "kv" {
		model, parse = kv, kvOperation
	}
	byKey := load(os.Args[2], parse)
	model.Partition = func([]porcupine.Operation) [][]porcupine.Operation { return byKey }
	began := time.Now()
	result := porcupine.CheckOperationsTimeout(model, byKey[0], timeout)
	json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
		"verdict": result, "seconds": time.Since(began).Seconds(),
	})
}

// load gives the file's operations, those of each key together.
func load(path string, parse func([]string) (interface{}, int)) [][]porcupine.Operation {
	file, err := os.Open(path)
	if err != nil {
		fail(err.Error())
	}
	keys := map[string]int{}
	var byKey [][]porcupine.Operation
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		input, times := parse(fields)
		start, finish := integer(fields[times]), integer(fields[times+1])
		if finish < 0 {
			finish = math.MaxInt64
		}
		key, known := keys[fields[1]]
		if !known {
			key = len(byKey)
			keys[fields[1]] = key
			byKey = append(byKey, nil)
		}
		byKey[key] = append(byKey[key], porcupine.Operation{Input: input, Call: start, Return: finish})
	}
	if lines.Err() != nil || len(byKey) == 0 {
		fail(fmt.Sprintf("%s: no operations (%v)", path, lines.Err()))
	}
	return byKey
}

func registerOperation(fields []string) (interface{}, int) {
	return registerInput{
		kind:     int(integer(fields[0])),
		observed: integer(fields[2]),
		written:  integer(fields[3]),
		crashed:  integer(fields[5]) < 0,
	}, 4
}

func kvOperation(fields []string) (interface{}, int) {
	return kvInput{int(integer(fields[0])), fields[2]}, 3
}

func integer(text string) int64 {
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		fail("not a number: " + text)
	}
	return number
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(2)
}
