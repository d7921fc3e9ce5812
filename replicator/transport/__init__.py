"""transport: a byte stream to an agent, over SSH or to a child process, with everything before its marker dealt with."""
