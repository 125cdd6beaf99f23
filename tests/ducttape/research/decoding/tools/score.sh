#!/usr/bin/env bash
n=$(wc -l)
echo $((n * 10))
