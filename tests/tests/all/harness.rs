//! What the tests over real processes stand on: the binary, its ports and folders, and other
//! languages' packages, all under the target folder.
