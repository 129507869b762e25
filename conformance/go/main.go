// Cases of the Go client; see the folder's README.
package main

import _ "github.com/apache/rocketmq-client-go/v2"

func main() {}
