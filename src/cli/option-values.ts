/** How help writes the values of options whose readers are loaded only where they are given. */
export const DISK_VALUE = 'FILE[,format=FORMAT,readonly,bus=virtio|scsi,queues=NUMBER,behind=BRIDGE]';
export const NET_VALUE =
  'user[,hostfwd=tcp::PORT-:PORT,restrict=on,mac=ADDRESS,queues=PAIRS,loss=PERCENT,behind=BRIDGE,SETTING=VALUE]';
export const CHANNEL_VALUE = 'NAME=PATH';
